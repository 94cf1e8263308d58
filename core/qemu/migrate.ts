// SPDX-License-Identifier: Apache-2.0
// Outgoing migration. One channel is connected by the source of descriptors and handed over. QEMU has no such way for several
// (multifd): then QEMU connects by address itself, and a sandboxed one has its connects performed by the broker.
import { RatchetError } from '../errors.ts';
import type { OwnedFd } from '../owned-fd.ts';
import { DiskCopies, type DisksToMove } from './disk-copies.ts';
import type { FdSource } from './fd-source.ts';
import {
  configureMigration,
  type FollowOptions,
  failedToStart,
  followMigration,
  isFinal,
  type MigrationReport,
  migrationEvents,
  migrationUri,
  noticeDeadPeer,
  peerIsSilent,
  startWithFd,
} from './migration-common.ts';
import type { QmpClient } from './qmp-client.ts';
import type { EventSubscription } from './qmp-events.ts';

export type { MigrationReport } from './migration-common.ts';

export interface MigrateOptions {
  /** 1: by descriptor. More: multifd, by address. Both sides must agree. */
  readonly channels?: number;
  /** The migration is cancelled when it has not ended by then. */
  readonly timeoutMs?: number;
  readonly maxBytesPerSecond?: number;
  readonly downtimeLimitMs?: number;
  /** How long the other side may be silent before it counts as gone; of the one channel, and of disks. Default 30 s. */
  readonly peerTimeoutMs?: number;
  /** Disks that the other side does not reach: they are copied first, and what the guest writes until it arrives. */
  readonly disks?: DisksToMove;
}

const defaultTimeoutMs = 300_000;
/** For QEMU to wind up a migration that is over. */
const settleTimeoutMs = 10_000;

/**
 * Migrates the VM away and resolves when it has arrived; this QEMU is then paused for good.
 * @param fds where the connection comes from, when there is one channel.
 * @param to ADDR of the other side, which must be listening.
 * @throws RatchetError MIGRATION_FAILED with QEMU's cause (the guest goes on here), or what the source of descriptors threw.
 */
export async function migrate(
  qmp: QmpClient,
  fds: FdSource,
  to: string,
  options: MigrateOptions,
): Promise<MigrationReport> {
  const { channels = 1, timeoutMs = defaultTimeoutMs, disks } = options;
  const what = `the migration to ${to}`;
  await configureMigration(qmp, { channels, pauseBeforeSwitchover: disks !== undefined, ...options });
  await using _peer = await fds.lease({
    request: 'connect',
    target: to,
    until: 'the migration has ended',
    ...(channels === 1 ? { uses: 1 } : {}),
  });
  await using copies = disks === undefined ? undefined : await DiskCopies.make(qmp, fds, disks, options);
  using events = qmp.subscribe(migrationEvents);
  using resumes = qmp.subscribe(['RESUME']);
  using connection = channels === 1 ? await fds.connect(to) : undefined;
  if (connection !== undefined) noticeDeadPeer(to, connection, options.peerTimeoutMs);
  try {
    if (connection === undefined) await qmp.execute('migrate', { uri: migrationUri(to) });
    else await startWithFd(qmp, connection, { command: 'migrate', uri: (name) => `fd:${name}` });
    const atSwitchover = copies === undefined ? undefined : () => switchOver(qmp, copies);
    return await follow(qmp, events, { what, channels, timeoutMs, atSwitchover });
  } catch (error) {
    if (qmp.closedReason === undefined) await guestGoesOn(qmp, resumes);
    if (connection !== undefined && error instanceof RatchetError) throw withErrno(what, error, to, connection);
    throw failedToStart(what, error);
  }
}

/** QEMU tells of a socket's end by whichever of its threads sees it first, at times with EBADF for a socket that the other has closed. */
function withErrno(what: string, error: RatchetError, to: string, connection: OwnedFd): unknown {
  if (error.code !== 'MIGRATION_FAILED' || !peerIsSilent(to, connection)) return failedToStart(what, error);
  return new RatchetError('MIGRATION_FAILED', `${what} failed: the other side confirms nothing any more`, {
    errno: 'ETIMEDOUT',
    next: 'the guest goes on here; look at the way there',
    cause: error,
  });
}

/** Gives up the outgoing migration, if there is one, and resolves when it has ended, one way or the other. */
export async function cancelMigration(qmp: QmpClient): Promise<void> {
  using events = qmp.subscribe(migrationEvents);
  await qmp.execute('migrate_cancel', {});
  const { status } = await qmp.execute('query-migrate', {});
  if (status === undefined || status === 'none' || isFinal(status)) return;
  await events.next(({ data }) => isFinal(String(data.status)), settleTimeoutMs);
}

async function follow(qmp: QmpClient, events: EventSubscription, options: FollowOptions): Promise<MigrationReport> {
  const { what, timeoutMs } = options;
  try {
    return await followMigration(qmp, events, options);
  } catch (timeout) {
    if ((timeout as RatchetError).code !== 'QMP_TIMEOUT') throw timeout;
    await qmp.execute('migrate_cancel', {});
    // It may have completed before it heard of that.
    return await followMigration(qmp, events, { ...options, timeoutMs: settleTimeoutMs }).catch(
      (error: RatchetError) => {
        if (error.code !== 'MIGRATION_FAILED') throw error;
        throw new RatchetError('MIGRATION_FAILED', `${what} did not end within ${timeoutMs} ms and was cancelled`, {
          next: 'allow more time, more bytes per second or a longer downtime',
          cause: timeout,
        });
      },
    );
  }
}

/** The disks first, then what QEMU still has to send. */
async function switchOver(qmp: QmpClient, copies: DiskCopies): Promise<void> {
  try {
    await copies.finish();
  } catch (error) {
    await cancelMigration(qmp);
    throw error;
  }
  await qmp.execute('migrate-continue', { state: 'pre-switchover' });
}

/** QEMU reports a failure in the last phase a moment before it lets the guest go on. */
async function guestGoesOn(qmp: QmpClient, resumes: EventSubscription): Promise<void> {
  const { status } = await qmp.execute('query-status', {});
  if (status !== 'finish-migrate') return;
  // A guest that was paused before stays so, and there is no such event.
  await resumes.next(() => true, settleTimeoutMs).catch(() => undefined);
}
