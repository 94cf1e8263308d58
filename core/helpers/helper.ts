// SPDX-License-Identifier: Apache-2.0
import { OwnedFd } from '../owned-fd.ts';
import type { Adapter, Vmm } from '../vmm/vmm.ts';

/** A daemon that serves a VMM over a descriptor that it inherits, and knows nothing of ratchet. */
export class Helper implements Vmm {
  readonly #terminate: () => void;
  readonly answersOn: (peerFd: number, timeoutMs: number) => Promise<void>;

  constructor(terminate: () => void, answersOn: Helper['answersOn']) {
    this.#terminate = terminate;
    this.answersOn = answersOn;
  }

  /** Its link tells when it is set up: `answersOn()`. */
  async waitUntilBuilt(): Promise<void> {}

  async threadRoles(): Promise<ReadonlyMap<number, string>> {
    return new Map();
  }

  async quit(): Promise<void> {
    this.#terminate();
  }

  close(): void {}
}

export function helperAdapter(name: string, answersOn: Helper['answersOn']): Adapter<Helper> {
  return {
    name,
    hasBarrier: false,
    filterableRoles: [],
    prepare: (args) => ({
      args,
      environment: {},
      connect: (channelFd, host) => {
        new OwnedFd(channelFd).close();
        return new Helper(() => host.terminate(), answersOn);
      },
      letRun: async () => undefined,
    }),
  };
}
