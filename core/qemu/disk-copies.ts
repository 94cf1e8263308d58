// SPDX-License-Identifier: Apache-2.0
// Disks that travel with their guest, when the two sides share none. The receiving QEMU serves its own nodes over NBD while it waits; the sending one mirrors
// each disk into the node of that name there, what the guest writes meanwhile too. The guest is stopped for the last of it, and its memory follows.
import { RatchetError } from '../errors.ts';
import { type Address, parseAddress } from '../policy/address/index.ts';
import type { FdSource } from './fd-source.ts';
import { defaultPeerTimeoutMs, noticeDeadPeer } from './migration-common.ts';
import type { QmpClient } from './qmp-client.ts';
import { QmpError } from './qmp-error.ts';
import type { EventSubscription } from './qmp-events.ts';

export interface DisksToMove {
  /** Names of block nodes (`-blockdev node-name=`), the same on both sides; those of the receiving side are at least as large. */
  readonly nodes: readonly string[];
  /** ADDR of the receiving side's NBD server, for this time. */
  readonly at: string;
}

export interface CopyLimits {
  /** Until all copies are up to date for the first time. */
  readonly timeoutMs?: number;
  /** How long a copy may not move. */
  readonly peerTimeoutMs?: number;
}

/** How often a copy is looked at that says nothing by itself. */
const lookEveryMs = 500;
/** For a copy that is up to date, and a guest that stands still. */
const finishMs = 60_000;

const jobEvents = ['BLOCK_JOB_READY', 'BLOCK_JOB_COMPLETED', 'BLOCK_JOB_CANCELLED', 'BLOCK_JOB_ERROR'];

/** The sending side. Dispose of it when the migration has ended, one way or the other. */
export class DiskCopies implements AsyncDisposable {
  readonly #qmp: QmpClient;
  readonly #disks: DisksToMove;
  readonly #events: EventSubscription;
  readonly #limits: CopyLimits;
  #lease: AsyncDisposable | undefined;
  /** What was made for each node so far. */
  readonly #targets = new Set<string>();
  readonly #jobs = new Set<string>();

  private constructor(qmp: QmpClient, disks: DisksToMove, limits: CopyLimits) {
    this.#limits = limits;
    this.#qmp = qmp;
    this.#disks = disks;
    this.#events = qmp.subscribe(jobEvents);
  }

  /** Resolves when every copy is as its disk, and follows it. @throws RatchetError MIGRATION_FAILED; nothing is left then. */
  static async make(qmp: QmpClient, fds: FdSource, disks: DisksToMove, limits: CopyLimits): Promise<DiskCopies> {
    const copies = new DiskCopies(qmp, disks, limits);
    try {
      await copies.#start(fds);
      await copies.#untilReady();
      return copies;
    } catch (error) {
      await copies[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The guest is stopped: brings the copies up to date for good, and lets go of them. @throws RatchetError MIGRATION_FAILED. */
  async finish(): Promise<void> {
    for (const device of [...this.#jobs])
      await this.#named(device, async () => {
        // Of a copy that is ready this is the good end (qapi/block-core.json).
        await this.#qmp.execute('block-job-cancel', { device });
        await this.#untilEnded(device, finishMs);
      });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      if (this.#qmp.closedReason !== undefined) return;
      for (const device of [...this.#jobs]) await this.#abandon(device);
      for (const target of this.#targets)
        await this.#qmp.execute('blockdev-del', { 'node-name': target }).catch(() => undefined);
    } finally {
      this.#events.close();
      await this.#lease?.[Symbol.asyncDispose]();
    }
  }

  async #start(fds: FdSource): Promise<void> {
    const { nodes, at } = this.#disks;
    const server = nbdServer(at);
    this.#lease = await fds.lease({ request: 'connect', target: at, until: 'the disks are copied' });
    for (const node of nodes)
      await this.#named(node, async () => {
        const target = copyOf(node);
        await this.#qmp.execute('blockdev-add', { driver: 'nbd', 'node-name': target, server, export: node });
        this.#targets.add(target);
        this.#noticeDeadPeer(fds);
        await this.#qmp.execute('blockdev-mirror', { 'job-id': target, device: node, target, sync: 'full' });
        this.#jobs.add(target);
      });
  }

  /** QEMU stands still while it closes a connection whose other side does not answer: there must be an end to that. */
  #noticeDeadPeer(fds: FdSource): void {
    const { at } = this.#disks;
    for (const connection of fds.ownConnections?.(at) ?? []) {
      using own = connection;
      noticeDeadPeer(at, own, this.#limits.peerTimeoutMs);
    }
  }

  async #untilReady(): Promise<void> {
    const deadline = performance.now() + (this.#limits.timeoutMs ?? Number.POSITIVE_INFINITY);
    const waiting = new Set(this.#jobs);
    const progress = new Map<string, { offset: number; since: number }>();
    while (waiting.size > 0) {
      const event = await this.#events.next(() => true, lookEveryMs).catch(unlessLate);
      const device = String(event?.data['device']);
      if (event?.name === 'BLOCK_JOB_READY') waiting.delete(device);
      else if (event !== undefined && this.#jobs.has(device)) throw this.#failed(device, event.data['error']);
      else if (event === undefined) await this.#look(waiting, progress, deadline);
    }
  }

  async #look(
    waiting: ReadonlySet<string>,
    progress: Map<string, { offset: number; since: number }>,
    deadline: number,
  ): Promise<void> {
    const now = performance.now();
    const stalledMs = this.#limits.peerTimeoutMs ?? defaultPeerTimeoutMs;
    for (const { device, offset } of await this.#qmp.execute('query-block-jobs', {})) {
      if (!waiting.has(device)) continue;
      const before = progress.get(device);
      if (before?.offset !== offset) progress.set(device, { offset, since: now });
      else if (now - before.since > stalledMs)
        throw this.#failed(device, `it has not moved for ${stalledMs} ms`, 'ETIMEDOUT');
    }
    const [device] = waiting;
    if (now > deadline && device !== undefined) throw this.#failed(device, 'there was no more time', 'ETIMEDOUT');
  }

  /** Without waiting for its other side, which may be what is missing. */
  async #abandon(device: string): Promise<void> {
    try {
      await this.#qmp.execute('block-job-cancel', { device, force: true });
      await this.#untilEnded(device, finishMs);
    } catch {
      // It had ended by itself, or the VMM has; what QEMU still holds is told by the blockdev-del that follows.
    }
    this.#jobs.delete(device);
  }

  async #untilEnded(device: string, timeoutMs: number): Promise<void> {
    const { name, data } = await this.#events.next(
      (event) => event.name !== 'BLOCK_JOB_READY' && event.data['device'] === device,
      timeoutMs,
    );
    this.#jobs.delete(device);
    if (name !== 'BLOCK_JOB_COMPLETED' || data['error'] !== undefined) throw this.#failed(device, data['error']);
  }

  async #named(node: string, act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      if (error instanceof QmpError) throw this.#failed(node, error.description);
      if ((error as RatchetError).code !== 'QMP_TIMEOUT') throw error;
      throw this.#failed(node, 'it did not come to its end', 'ETIMEDOUT');
    }
  }

  #failed(node: string, why: unknown = 'QEMU gave no reason', errno?: string): RatchetError {
    const disk = node.replace(copyOf(''), '');
    return new RatchetError('MIGRATION_FAILED', `the copy of disk ${disk} to ${this.#disks.at} failed: ${why}`, {
      next: 'the guest goes on here; look at the receiving side, and at the way there',
      ...(errno === undefined ? {} : { errno }),
    });
  }
}

/** The receiving side: lets the other one write into these nodes, until it is disposed of, which has to be before the guest runs. */
export async function takeDisks(qmp: QmpClient, fds: FdSource, { nodes, at }: DisksToMove): Promise<AsyncDisposable> {
  const fdname = 'ratchet-disks';
  await using _address = await fds.lease({ request: 'bind', target: at, until: 'the NBD server listens' });
  using listening = await fds.bind(at, nodes.length);
  await qmp.execute('getfd', { fdname }, { fds: [listening.fd] });
  await qmp.execute('nbd-server-start', { addr: { type: 'fd', data: { str: fdname } } });
  const stop = async (): Promise<void> => void (await qmp.execute('nbd-server-stop', {}));
  try {
    for (const node of nodes)
      await qmp.execute('block-export-add', {
        type: 'nbd',
        id: copyOf(node),
        'node-name': node,
        name: node,
        writable: true,
      });
  } catch (error) {
    await stop();
    throw error;
  }
  return { [Symbol.asyncDispose]: stop };
}

/** Node names have at most 31 characters; a disk whose name is longer than that allows is refused by QEMU. */
function copyOf(node: string): string {
  return `ratchet-copy-${node}`;
}

/** QEMU connects by itself. @throws RatchetError ADDRESS_INVALID. */
function nbdServer(at: string): Readonly<Record<string, string>> {
  const address: Address = parseAddress(at);
  if (address.kind === 'unix') return { type: 'unix', path: address.path };
  if (address.kind === 'tcp') return { type: 'inet', host: hostOf(at), port: portOf(at) };
  throw new RatchetError('ADDRESS_INVALID', `disks cannot be copied to ${at}`, {
    next: 'write tcp:HOST:PORT or unix:PATH',
  });
}

function hostOf(at: string): string {
  return at.slice('tcp:'.length, at.lastIndexOf(':')).replace(/^\[|\]$/g, '');
}

function portOf(at: string): string {
  return at.slice(at.lastIndexOf(':') + 1);
}

function unlessLate(error: unknown): undefined {
  if ((error as RatchetError).code !== 'QMP_TIMEOUT') throw error;
  return undefined;
}
