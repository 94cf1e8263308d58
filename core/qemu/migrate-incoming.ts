// SPDX-License-Identifier: Apache-2.0
// Incoming migration into a QEMU that was started with `-incoming defer`.
import { type DisksToMove, takeDisks } from './disk-copies.ts';
import type { FdSource } from './fd-source.ts';
import {
  configureMigration,
  failedToStart,
  followMigration,
  type MigrationReport,
  migrationEvents,
  migrationUri,
  noticeDeadPeer,
  startWithFd,
} from './migration-common.ts';
import type { QmpClient } from './qmp-client.ts';
import type { EventSubscription } from './qmp-events.ts';
import type { QemuVersion } from './qmp-message.ts';

export interface AcceptOptions {
  readonly channels?: number;
  /** From now until the guest has arrived. */
  readonly timeoutMs?: number;
  /** Leave the guest paused when it has arrived. Otherwise it is let run, even if it was paused before. */
  readonly paused?: boolean;
  /** How long the other side may be silent once it is here, over one channel. Default 30 s. */
  readonly peerTimeoutMs?: number;
  /** Disks that the other side copies into this one's before. */
  readonly disks?: DisksToMove;
}

export interface IncomingMigration {
  /** Rejects with MIGRATION_FAILED. On 7.2 most failures end QEMU, whose stderr then tells why. */
  readonly completed: Promise<MigrationReport>;
}

const defaultTimeoutMs = 300_000;

/** Resolves when QEMU listens at the address. @throws RatchetError MIGRATION_FAILED, or what the source of descriptors threw. */
export async function acceptMigration(
  { qmp, version }: { readonly qmp: QmpClient; readonly version: QemuVersion },
  fds: FdSource,
  address: string,
  options: AcceptOptions,
): Promise<IncomingMigration> {
  const channels = options.channels ?? 1;
  await configureMigration(qmp, { channels });
  await using _address = await fds.lease({ request: 'bind', target: address, until: 'QEMU listens' });
  const taking = options.disks === undefined ? undefined : await takeDisks(qmp, fds, options.disks);
  const events = qmp.subscribe(migrationEvents);
  const what = `the migration coming in at ${address}`;
  try {
    if (channels === 1 && takesListeningSocket(version)) await listenByFd(qmp, address, fds, options);
    else await qmp.execute('migrate-incoming', { uri: migrationUri(address) });
  } catch (error) {
    events.close();
    await taking?.[Symbol.asyncDispose]();
    throw failedToStart(what, error);
  }
  const completed = follow(qmp, events, what, { ...options, taking });
  // It may be awaited only after the other side has reported its failure.
  completed.catch(() => undefined);
  return { completed };
}

/**
 * For a QEMU that listens by itself (`-incoming ADDR`) and was started with `-S`: lets the guest run when it has arrived, as it would
 * have without `-S`.
 */
export async function contWhenArrived(qmp: QmpClient, timeoutMs: number): Promise<void> {
  using events = qmp.subscribe(migrationEvents);
  await qmp.execute('migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true }] });
  const { status } = await qmp.execute('query-status', {});
  const options = { what: 'the migration coming in', channels: 1, timeoutMs };
  if (status === 'inmigrate') await followMigration(qmp, events, options);
  await qmp.execute('cont', {});
}

async function follow(
  qmp: QmpClient,
  events: EventSubscription,
  what: string,
  {
    channels = 1,
    timeoutMs = defaultTimeoutMs,
    paused = false,
    taking,
  }: AcceptOptions & { readonly taking: AsyncDisposable | undefined },
): Promise<MigrationReport> {
  using arrival = events;
  const report = await followMigration(qmp, arrival, { what, channels, timeoutMs });
  await taking?.[Symbol.asyncDispose]();
  // Not earlier: on 7.2 `cont` takes the locks of the disks at once, and the other side still writes to them.
  if (!paused) await qmp.execute('cont', {});
  return report;
}

/** QEMU 7.2 to 8.1 pass what follows `tcp:` to `socket_parse`, which knows `fd:NAME`; 8.2 parses URIs strictly (`migrate_uri_parse`). */
function takesListeningSocket({ major, minor }: QemuVersion): boolean {
  return (major === 7 && minor >= 2) || (major === 8 && minor < 2);
}

async function listenByFd(
  qmp: QmpClient,
  address: string,
  fds: FdSource,
  { peerTimeoutMs }: AcceptOptions,
): Promise<void> {
  using listening = await fds.bind(address, 1);
  noticeDeadPeer(address, listening, peerTimeoutMs);
  await startWithFd(qmp, listening, { command: 'migrate-incoming', uri: (name) => `tcp:fd:${name}` });
}
