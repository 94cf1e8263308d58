// SPDX-License-Identifier: Apache-2.0
// Migration into and out of a stream that goes one way and that somebody else reads or writes: what `migrate exec:COMMAND` does, with the command's streams in place of
// the command. QEMU takes the descriptor; nobody answers it.
import type { OwnedFd } from '../owned-fd.ts';
import {
  configureMigration,
  failedToStart,
  followMigration,
  type MigrationReport,
  migrationEvents,
  startWithFd,
} from './migration-common.ts';
import type { QmpClient } from './qmp-client.ts';

export interface StreamOptions {
  readonly timeoutMs?: number;
}

const defaultTimeoutMs = 300_000;

/** Resolves when all of it was written; this QEMU is paused then. The fd stays the caller's: its reader sees the end when it is closed here too. @throws RatchetError MIGRATION_FAILED. */
export async function migrateInto(
  qmp: QmpClient,
  stream: OwnedFd,
  { timeoutMs = defaultTimeoutMs }: StreamOptions = {},
): Promise<MigrationReport> {
  const what = 'the migration into a stream';
  await configureMigration(qmp, { channels: 1, answers: false });
  using events = qmp.subscribe(migrationEvents);
  try {
    await startWithFd(qmp, stream, { command: 'migrate', uri: (name) => `fd:${name}` });
    return await followMigration(qmp, events, { what, channels: 1, timeoutMs });
  } catch (error) {
    throw failedToStart(what, error);
  }
}

/** Resolves when the guest has arrived, and runs unless it is to stay paused. @throws RatchetError MIGRATION_FAILED. */
export async function migrateFrom(
  qmp: QmpClient,
  stream: OwnedFd,
  { timeoutMs = defaultTimeoutMs, paused = false }: StreamOptions & { readonly paused?: boolean } = {},
): Promise<void> {
  const what = 'the migration out of a stream';
  await configureMigration(qmp, { channels: 1, answers: false });
  using events = qmp.subscribe(migrationEvents);
  try {
    await startWithFd(qmp, stream, { command: 'migrate-incoming', uri: (name) => `fd:${name}` });
    await followMigration(qmp, events, { what, channels: 1, timeoutMs });
  } catch (error) {
    throw failedToStart(what, error);
  }
  if (!paused) await qmp.execute('cont', {});
}
