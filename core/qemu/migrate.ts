// SPDX-License-Identifier: Apache-2.0
// Outgoing migration. One channel is connected by the source of descriptors and handed over. QEMU has no such way for several
// (multifd): then QEMU connects by address itself, and a sandboxed one has its connects performed by the broker.
import { RatchetError } from '../errors.ts';
import type { FdSource } from './fd-source.ts';
import {
  configureMigration,
  followMigration,
  type MigrationReport,
  migrationEvents,
  migrationUri,
} from './migration-common.ts';
import type { QmpClient } from './qmp-client.ts';

export type { MigrationReport } from './migration-common.ts';

export interface MigrateOptions {
  /** Where the connection comes from, when there is one channel. */
  readonly fds: FdSource;
  /** 1: by descriptor. More: multifd, by address. Both sides must agree. */
  readonly channels?: number;
  /** The migration is cancelled when it has not ended by then. */
  readonly timeoutMs?: number;
  readonly maxBytesPerSecond?: number;
  readonly downtimeLimitMs?: number;
}

/** Name of the descriptor inside QEMU while it is on its way. */
const fdName = 'ratchet-migrate';
const defaultTimeoutMs = 300_000;

/**
 * Migrates the VM away and resolves when it has arrived; this QEMU is then paused for good.
 * @param to ADDR of the other side, which must be listening.
 * @throws RatchetError MIGRATION_FAILED with QEMU's cause (the guest goes on here), or what the source of descriptors threw.
 */
export async function migrate(qmp: QmpClient, to: string, options: MigrateOptions): Promise<MigrationReport> {
  const channels = options.channels ?? 1;
  await configureMigration(qmp, { channels, ...options });
  using events = qmp.subscribe(migrationEvents);
  if (channels === 1) await startByFd(qmp, to, options.fds);
  else await qmp.execute('migrate', { uri: migrationUri(to) });
  const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
  try {
    return await followMigration(qmp, events, { what: `the migration to ${to}`, channels, timeoutMs });
  } catch (error) {
    if ((error as RatchetError).code !== 'QMP_TIMEOUT') throw error;
    await cancelMigration(qmp);
    throw new RatchetError(
      'MIGRATION_FAILED',
      `the migration to ${to} did not end within ${timeoutMs} ms and was cancelled`,
      {
        next: 'allow more time, more bytes per second or a longer downtime',
        cause: error,
      },
    );
  }
}

/** Gives up the outgoing migration, if there is one. */
export async function cancelMigration(qmp: QmpClient): Promise<void> {
  await qmp.execute('migrate_cancel', {});
}

async function startByFd(qmp: QmpClient, to: string, fds: FdSource): Promise<void> {
  using connection = await fds.connect(to);
  await qmp.execute('getfd', { fdname: fdName }, { fds: [connection.fd] });
  try {
    await qmp.execute('migrate', { uri: `fd:${fdName}` });
  } catch (error) {
    // QEMU may have taken it already; then there is nothing to close.
    await qmp.execute('closefd', { fdname: fdName }).catch(() => undefined);
    throw error;
  }
}
