// SPDX-License-Identifier: Apache-2.0
// What ratchet has to know of a VMM, and all that is special to one: how it is started so that it can be talked with, how to know that its machine is
// built, how to let it run, and what its threads are for. The profile's key `vmm` chooses the adapter.
import type { FdSource } from '../qemu/fd-source.ts';
import type { ThreadKeeper } from './thread-keeper.ts';

/** One running VMM (or helper of one), as its adapter sees it. */
export interface Vmm {
  /** Resolves at the barrier: everything is set up, and nothing of the guest has run. */
  waitUntilBuilt(timeoutMs?: number): Promise<void>;
  /** What it would end of when it is refused later. Asked at the barrier; absent where it survives every refusal. */
  needs?(): Promise<readonly VmmNeed[]>;
  /** Resolves when it answers a question on its peer's end of a link that it serves, and leaves that end as if nobody had asked. Absent where it has no such question. */
  answersOn?(peerFd: number, timeoutMs: number): Promise<void>;
  /** Roles of the threads that have one, by thread id. */
  threadRoles(): Promise<ReadonlyMap<number, string>>;
  /** Calls back once when the migration under way, or the next to begin, has ended. Absent where there is no migration. */
  whenMigrationEnds?(act: () => void): Promise<void>;
  /** Asks it to end. Resolves when it took the order, or is gone. */
  quit(): Promise<void>;
  /** Closes our end of its channel. */
  close(): void;
}

export interface VmmNeed {
  readonly syscall: string;
  /** As the beginning of a sentence. */
  readonly because: string;
  /** What its user can do about it. */
  readonly next: string;
}

/** What an adapter may ask of the sandbox that its VMM runs in. */
export interface VmmHost extends FdSource {
  readonly pid: number;
  enter(stage: string): Promise<unknown>;
  readonly threads: ThreadKeeper;
  /** SIGTERM. */
  terminate(): void;
}

export interface PreparedVmm<V extends Vmm> {
  /** Without argv[0]. */
  readonly args: readonly string[];
  /** Added to its environment. */
  readonly environment: Readonly<Record<string, string>>;
  /** Takes our end of the channel. */
  connect(channelFd: number, host: VmmHost): V;
  /** Called once, after the stages were entered. */
  letRun(vmm: V): Promise<void>;
}

export interface Adapter<V extends Vmm = Vmm> {
  /** As the profile's `vmm` has it. */
  readonly name: string;
  /** Whether `launch()` can enter a later stage by itself: there is a moment when everything is set up and the guest has not run. */
  readonly hasBarrier: boolean;
  /** It has one client in its life: who starts it again starts it for nobody. */
  readonly servesOnce?: boolean;
  /**
   * Roles whose threads can have filters of their own: those that the VMM makes on request and names. Other threads come and go unseen; and what the main
   * thread has, every thread that is made later has as well.
   */
  readonly filterableRoles: readonly string[];
  /** @param channelFd the number that its end of a stream socket pair has there. @throws RatchetError VMM_ARGUMENT_CONFLICT, ARGUMENT_INVALID. */
  prepare(args: readonly string[], options: { readonly channelFd: number }): PreparedVmm<V>;
}
