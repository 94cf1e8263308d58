// SPDX-License-Identifier: Apache-2.0
import { OwnedFd } from '../owned-fd.ts';
import type { Adapter, Vmm } from '../vmm/vmm.ts';

type Answers = (peerFd: number, timeoutMs: number) => Promise<void>;

export interface HelperOptions {
  readonly answersOn?: Answers;
  readonly servesOnce?: boolean;
  /** Its own words, and what else it has to be told. @throws RatchetError VMM_ARGUMENT_CONFLICT. */
  readonly words?: (args: readonly string[]) => readonly string[];
}

/** A daemon that serves a VMM over a descriptor that it inherits, and knows nothing of ratchet. */
export class Helper implements Vmm {
  readonly #terminate: () => void;
  readonly answersOn?: Answers;

  constructor(terminate: () => void, answersOn: Answers | undefined) {
    this.#terminate = terminate;
    if (answersOn !== undefined) this.answersOn = answersOn;
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

export function helperAdapter(name: string, options: HelperOptions): Adapter<Helper> {
  return {
    name,
    hasBarrier: false,
    servesOnce: options.servesOnce ?? false,
    filterableRoles: [],
    prepare: (args) => ({
      args: options.words?.(args) ?? args,
      environment: {},
      connect: (channelFd, host) => {
        new OwnedFd(channelFd).close();
        return new Helper(() => host.terminate(), options.answersOn);
      },
      letRun: async () => undefined,
    }),
  };
}
