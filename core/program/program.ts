// SPDX-License-Identifier: Apache-2.0
// Any program. It is told the number of its channel in RATCHET_FD and may ask there, a line at a time, for a stage or a descriptor (see channel.ts);
// one that knows nothing of ratchet goes to a later stage when its launcher says so.
import { OwnedFd } from '../owned-fd.ts';
import type { Adapter, Vmm } from '../vmm/vmm.ts';
import { serveChannel } from './channel.ts';

export const channelVariable = 'RATCHET_FD';

export class Program implements Vmm {
  readonly #channel: { close(): void };
  readonly #terminate: () => void;

  constructor(channel: { close(): void }, terminate: () => void) {
    this.#channel = channel;
    this.#terminate = terminate;
  }

  /** Nobody can tell from outside when a program is set up: its own first instruction is all that is waited for. */
  async waitUntilBuilt(): Promise<void> {}

  async threadRoles(): Promise<ReadonlyMap<number, string>> {
    return new Map();
  }

  async quit(): Promise<void> {
    this.#terminate();
  }

  close(): void {
    this.#channel.close();
  }
}

export const programAdapter: Adapter<Program> = {
  name: 'program',
  hasBarrier: false,
  filterableRoles: [],
  prepare: (args, { channelFd }) => ({
    args,
    environment: { [channelVariable]: String(channelFd) },
    connect: (fd, host) => new Program(serveChannel(new OwnedFd(fd), host), () => host.terminate()),
    letRun: async () => undefined,
  }),
};
