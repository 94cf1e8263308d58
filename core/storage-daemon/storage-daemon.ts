// SPDX-License-Identifier: Apache-2.0
import { RatchetError } from '../errors.ts';
import { OwnedFd } from '../owned-fd.ts';
import { warmUpFileLocks } from '../qemu/file-locks.ts';
import { QmpClient } from '../qemu/qmp-client.ts';
import { noKeeper, type ThreadKeeper } from '../vmm/thread-keeper.ts';
import type { Adapter, Vmm } from '../vmm/vmm.ts';

const monitorId = 'ratchet-qmp';

/** A running qemu-storage-daemon: block nodes and exports for VMs, over its monitor. */
export class StorageDaemon implements Vmm {
  readonly qmp: QmpClient;
  readonly #threads: ThreadKeeper;

  /** @param monitorFd our end of the monitor's socket pair; owned from now on. */
  constructor(monitorFd: number, threads: ThreadKeeper = noKeeper) {
    this.#threads = threads;
    this.qmp = new QmpClient(new OwnedFd(monitorFd));
  }

  /** The daemon works its command line off in order, and its monitor comes last: when that answers, all exports are there. */
  async waitUntilBuilt(timeoutMs?: number): Promise<void> {
    await this.qmp.negotiate(timeoutMs);
    await warmUpFileLocks(this.qmp);
  }

  async threadRoles(): Promise<ReadonlyMap<number, string>> {
    const threads = await this.qmp.execute('query-iothreads', {});
    return new Map(threads.map((thread) => [this.#threads.fromOwn(thread['thread-id']), 'io']));
  }

  async quit(): Promise<void> {
    try {
      await this.qmp.execute('quit', {});
    } catch (error) {
      if ((error as RatchetError).code !== 'QMP_CLOSED') throw error;
    }
  }

  close(): void {
    this.qmp.close();
  }
}

export const storageDaemonAdapter: Adapter<StorageDaemon> = {
  name: 'qemu-storage-daemon',
  hasBarrier: true,
  filterableRoles: ['io'],
  prepare: (args, { channelFd }) => {
    for (const word of args) {
      const cure = conflicts[word.replace(/^--?/, '').split('=')[0] ?? ''];
      if (cure !== undefined)
        throw new RatchetError('VMM_ARGUMENT_CONFLICT', `${word} does not go together with ratchet`, { next: cure });
    }
    const monitor = ['--chardev', `socket,id=${monitorId},fd=${channelFd}`, '--monitor', `chardev=${monitorId}`];
    return {
      args: [...args, ...monitor],
      environment: {},
      connect: (monitorFd, host) => new StorageDaemon(monitorFd, host.threads),
      letRun: async () => undefined,
    };
  },
};

const conflicts: Readonly<Record<string, string>> = {
  daemonize: 'leave it out: a program that forks away cannot be tightened; put the launcher in the background instead',
};
