// SPDX-License-Identifier: Apache-2.0
import { native } from '../../native/index.ts';
import { RatchetError } from '../errors.ts';
import type { OwnedFd } from '../owned-fd.ts';
import type { QmpClient } from './qmp-client.ts';
import type { QmpReply } from './qmp-commands.ts';
import { printable, QmpError } from './qmp-error.ts';
import type { EventSubscription } from './qmp-events.ts';

export interface MigrationReport {
  readonly channels: number;
  /** undefined on the receiving side, which does not measure them. */
  readonly totalMs: number | undefined;
  readonly downtimeMs: number | undefined;
  readonly transferredBytes: number | undefined;
}

export interface MigrationSettings {
  readonly channels: number;
  /** False where nobody answers: a stream that goes one way. */
  readonly answers?: boolean;
  readonly maxBytesPerSecond?: number;
  readonly downtimeLimitMs?: number;
  /** Waits, with the guest stopped and its disks at rest, for somebody to say that it may go on. */
  readonly pauseBeforeSwitchover?: boolean;
}

export const migrationEvents: readonly string[] = ['MIGRATION'];

const maxChannels = 255;
/** QEMU's own are 128 MiB/s and 300 ms; the first is a brake on any local network of today. */
const defaultBytesPerSecond = 1024 * 1024 * 1024;
const defaultDowntimeLimitMs = 300;

/** Sets everything that a migration depends on, so that nothing of an earlier one is left. */
export async function configureMigration(qmp: QmpClient, settings: MigrationSettings): Promise<void> {
  const { channels } = settings;
  if (!Number.isInteger(channels) || channels < 1 || channels > maxChannels)
    throw new RatchetError('ARGUMENT_INVALID', `a migration cannot have ${channels} channels`, {
      next: `give 1 to ${maxChannels}`,
    });
  await qmp.execute('migrate-set-capabilities', {
    capabilities: [
      { capability: 'events', state: true },
      // The receiver says whether it could load what it got; without it, the sender may call complete what nobody can run.
      { capability: 'return-path', state: settings.answers ?? true },
      { capability: 'multifd', state: channels > 1 },
      { capability: 'pause-before-switchover', state: settings.pauseBeforeSwitchover ?? false },
    ],
  });
  await qmp.execute('migrate-set-parameters', {
    'max-bandwidth': settings.maxBytesPerSecond ?? defaultBytesPerSecond,
    'downtime-limit': settings.downtimeLimitMs ?? defaultDowntimeLimitMs,
    ...(channels > 1 ? { 'multifd-channels': channels } : {}),
  });
}

/** QEMU's URI for an ADDR that QEMU itself connects or binds. */
export function migrationUri(address: string): string {
  if (/^(tcp|unix|vsock):/.test(address)) return address;
  throw new RatchetError('ADDRESS_INVALID', `QEMU cannot migrate by itself to ${address}`, {
    next: 'with several channels write tcp:HOST:PORT, unix:PATH or vsock:CID:PORT',
  });
}

export interface FollowOptions {
  readonly what: string;
  readonly channels: number;
  /** From each sign of life to the next. */
  readonly timeoutMs: number;
  /** When the guest is stopped and QEMU waits to be told that it may go on. */
  readonly atSwitchover?: (() => Promise<void>) | undefined;
}

/** @throws RatchetError MIGRATION_FAILED naming the cause, QMP_TIMEOUT; what `atSwitchover` threw. */
export async function followMigration(
  qmp: QmpClient,
  events: EventSubscription,
  options: FollowOptions,
): Promise<MigrationReport> {
  const { what, channels } = options;
  const { status, report } = await finalReport(qmp, events, options).catch((cause: RatchetError) => {
    if (cause.code !== 'QMP_CLOSED') throw cause;
    throw new RatchetError('MIGRATION_FAILED', `${what} failed: QEMU ended`, { next: 'its stderr tells why', cause });
  });
  switch (status) {
    case 'completed':
      return {
        channels,
        totalMs: report['total-time'],
        downtimeMs: report.downtime,
        transferredBytes: report.ram?.transferred,
      };
    case 'cancelled':
      throw new RatchetError('MIGRATION_FAILED', `${what} was cancelled`);
    default: {
      const description = report['error-desc'];
      const cause = description === undefined ? 'QEMU gave no reason' : printable(description);
      throw new RatchetError('MIGRATION_FAILED', `${what} failed: ${cause}`, {
        next: 'the stderr of the receiving QEMU may tell more',
      });
    }
  }
}

async function finalReport(
  qmp: QmpClient,
  events: EventSubscription,
  { timeoutMs, atSwitchover }: FollowOptions,
): Promise<{ readonly status: unknown; readonly report: QmpReply<'query-migrate'> }> {
  const wanted = (status: string): boolean =>
    isFinal(status) || (status === 'pre-switchover' && atSwitchover !== undefined);
  const next = () => events.next((event) => wanted(String(event.data['status'])), timeoutMs);
  let { data } = await next();
  if (data['status'] === 'pre-switchover') {
    await atSwitchover?.();
    ({ data } = await next());
  }
  return { status: data['status'], report: await qmp.execute('query-migrate', {}) };
}

/** States of a migration from which it goes no further (qapi/migration.json, `MigrationStatus`). */
export function isFinal(status: string): boolean {
  return status === 'completed' || status === 'failed' || status === 'cancelled';
}

const tcp = 6;
const socketLevel = 1;
/** How long the other side may say, or confirm, nothing. */
export const defaultPeerTimeoutMs = 30_000;

/**
 * A migration over a way that was cut fails with ETIMEDOUT, and not after the quarter of an hour that TCP tries by itself. Accepted sockets have it from their
 * listener. Numbers from socket(7) and tcp(7).
 */
export function noticeDeadPeer(address: string, { fd }: OwnedFd, timeoutMs = defaultPeerTimeoutMs): void {
  if (!address.startsWith('tcp:')) return;
  const set = (level: number, name: number, value: number): void => native.setSocketOption({ fd, level, name, value });
  const probes = 3;
  const seconds = Math.max(1, Math.floor(timeoutMs / 1000 / (probes + 1)));
  set(socketLevel, 9, 1); // SO_KEEPALIVE: for the side that only reads
  set(tcp, 4, seconds); // TCP_KEEPIDLE
  set(tcp, 5, seconds); // TCP_KEEPINTVL
  set(tcp, 6, probes); // TCP_KEEPCNT
  set(tcp, 18, timeoutMs); // TCP_USER_TIMEOUT: for the side that writes
}

/** Whether TCP has given the connection up because nothing came back: its state is closed, after packets or probes that were sent in vain. */
export function peerIsSilent(address: string, { fd }: OwnedFd): boolean {
  if (!address.startsWith('tcp:')) return false;
  // TCP_INFO; of struct tcp_info the first four bytes: state, congestion state, retransmissions, probes (linux/tcp.h).
  const info = native.getSocketOption({ fd, level: tcp, name: 11 });
  const closed = 7;
  return (info & 0xff) === closed && Math.max((info >> 16) & 0xff, (info >> 24) & 0xff) >= 2;
}

/** Hands the socket over under a name and starts the migration with it; nothing of it is left in QEMU when that fails. */
export async function startWithFd(
  qmp: QmpClient,
  socket: OwnedFd,
  start: { readonly command: 'migrate' | 'migrate-incoming'; readonly uri: (fdName: string) => string },
): Promise<void> {
  const fdname = 'ratchet-migration';
  await qmp.execute('getfd', { fdname }, { fds: [socket.fd] });
  try {
    await qmp.execute(start.command, { uri: start.uri(fdname) });
  } catch (error) {
    // QEMU may have taken it already; then there is nothing to close.
    await qmp.execute('closefd', { fdname }).catch(() => undefined);
    throw error;
  }
}

/** QEMU's refusal to begin is a failed migration like any other. */
export function failedToStart(what: string, error: unknown): unknown {
  if (!(error instanceof QmpError)) return error;
  return new RatchetError('MIGRATION_FAILED', `${what} failed: ${error.description}`, { cause: error });
}
