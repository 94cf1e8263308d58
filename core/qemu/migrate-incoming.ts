// SPDX-License-Identifier: Apache-2.0
// Incoming migration into a QEMU that was started with `-incoming defer`.
import type { FdSource } from './fd-source.ts';
import {
  configureMigration,
  followMigration,
  type MigrationReport,
  migrationEvents,
  migrationUri,
} from './migration-common.ts';
import type { QmpClient } from './qmp-client.ts';
import type { QemuVersion } from './qmp-message.ts';

export interface AcceptOptions {
  /** Where the listening socket comes from, when QEMU takes one. */
  readonly fds: FdSource;
  readonly channels?: number;
  /** From now until the guest has arrived. */
  readonly timeoutMs?: number;
  /** Leave the guest paused when it has arrived. Otherwise it runs, if it ran before. */
  readonly paused?: boolean;
}

export interface IncomingMigration {
  /** Rejects with MIGRATION_FAILED. On 7.2 most failures end QEMU, whose stderr then tells why. */
  readonly completed: Promise<MigrationReport>;
}

/** Name of the descriptor inside QEMU while it is on its way. */
const fdName = 'ratchet-incoming';
const defaultTimeoutMs = 300_000;

/** Resolves when QEMU listens at the address. @throws RatchetError QMP_ERROR, or what the source of descriptors threw. */
export async function acceptMigration(
  qmp: QmpClient,
  version: QemuVersion,
  address: string,
  options: AcceptOptions,
): Promise<IncomingMigration> {
  const channels = options.channels ?? 1;
  await configureMigration(qmp, { channels });
  // Before anything has arrived `cont` only notes that the guest shall run.
  if (options.paused !== true) await qmp.execute('cont', {});
  const events = qmp.subscribe(migrationEvents);
  try {
    if (channels === 1 && takesListeningSocket(version)) await listenByFd(qmp, address, channels, options.fds);
    else await qmp.execute('migrate-incoming', { uri: migrationUri(address) });
  } catch (error) {
    events.close();
    throw error;
  }
  const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
  const completed = followMigration(qmp, events, {
    what: `the migration coming in at ${address}`,
    channels,
    timeoutMs,
  }).finally(() => events.close());
  // It may be awaited only after the other side has reported its failure.
  completed.catch(() => undefined);
  return { completed };
}

/** QEMU 7.2 to 8.1 pass what follows `tcp:` to `socket_parse`, which knows `fd:NAME`; 8.2 parses URIs strictly (`migrate_uri_parse`). */
function takesListeningSocket({ major, minor }: QemuVersion): boolean {
  return (major === 7 && minor >= 2) || (major === 8 && minor < 2);
}

async function listenByFd(qmp: QmpClient, address: string, backlog: number, fds: FdSource): Promise<void> {
  using listening = await fds.bind(address, backlog);
  await qmp.execute('getfd', { fdname: fdName }, { fds: [listening.fd] });
  try {
    await qmp.execute('migrate-incoming', { uri: `tcp:fd:${fdName}` });
  } catch (error) {
    // QEMU may have taken it already; then there is nothing to close.
    await qmp.execute('closefd', { fdname: fdName }).catch(() => undefined);
    throw error;
  }
}
