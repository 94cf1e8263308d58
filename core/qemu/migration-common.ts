// SPDX-License-Identifier: Apache-2.0
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

/** @throws RatchetError MIGRATION_FAILED naming the cause, QMP_TIMEOUT. */
export async function followMigration(
  qmp: QmpClient,
  events: EventSubscription,
  options: { readonly what: string; readonly channels: number; readonly timeoutMs: number },
): Promise<MigrationReport> {
  const { what, channels, timeoutMs } = options;
  const { status, report } = await finalReport(qmp, events, timeoutMs).catch((cause: RatchetError) => {
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
  timeoutMs: number,
): Promise<{ readonly status: unknown; readonly report: QmpReply<'query-migrate'> }> {
  const { data } = await events.next((event) => isFinal(String(event.data.status)), timeoutMs);
  return { status: data.status, report: await qmp.execute('query-migrate', {}) };
}

/** States of a migration from which it goes no further (qapi/migration.json, `MigrationStatus`). */
export function isFinal(status: string): boolean {
  return status === 'completed' || status === 'failed' || status === 'cancelled';
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
