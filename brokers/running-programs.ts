// SPDX-License-Identifier: Apache-2.0
// Programs that run for this VM. The broker can execute nothing: it decides, makes the streams, and tells the launcher to start the program under the name that it
// judged. A program runs for as long as what permitted it holds, and no longer than its profile says.
import type { StartOrder } from '../core/broker/protocol.ts';
import type { OwnedFd } from '../core/owned-fd.ts';
import type { NamedProgram } from '../core/policy/types.ts';
import { native, type Watch } from '../native/index.ts';
import type { Permit } from './authority.ts';
import { errno, sigkill } from './linux.ts';
import { attempt } from './native-errno.ts';

/** Of one VM, whatever their names. */
export const maxPrograms = 16;

/** For the launcher's answer. */
const startMs = 10_000;

/** For the launcher's word of an end that was seen here. */
const endWordMs = 2000;

export type Started =
  | { readonly kind: 'runs'; readonly pid: number; readonly pidfd: OwnedFd; readonly number: number }
  | { readonly kind: 'failed'; readonly errno: number; readonly what: string }
  | { readonly kind: 'withdrawn' }
  | { readonly kind: 'timeout' };

interface Entry {
  readonly number: number;
  readonly program: NamedProgram;
  readonly permit: Permit;
  /** Called once. Undefined when it was. */
  answer: ((started: Started) => void) | undefined;
  timer: NodeJS.Timeout;
  pid: number;
  pidfd: OwnedFd | undefined;
  /** Sees it end. */
  watch: Watch | undefined;
  /** Killed, and by whose will, for the trail. */
  killed: string | undefined;
}

export interface Ended {
  readonly program: string;
  readonly pid: number;
  readonly killed: string | undefined;
}

export class RunningPrograms {
  readonly #order: (order: Omit<StartOrder, 'type'>, fds: readonly OwnedFd[]) => void;
  readonly #untold: (ended: Ended) => void;
  readonly #all = new Map<number, Entry>();
  #next = 1;

  /** `order` reaches the launcher; it takes the fds. `untold` hears of an end that the launcher did not tell of. */
  constructor(
    order: (order: Omit<StartOrder, 'type'>, fds: readonly OwnedFd[]) => void,
    untold: (ended: Ended) => void = () => undefined,
  ) {
    this.#order = order;
    this.#untold = untold;
  }

  /** As many as may run: of this one, or of all. */
  full({ name, atOnce }: NamedProgram): boolean {
    const same = [...this.#all.values()].filter(({ program }) => program.name === name);
    return this.#all.size >= maxPrograms || same.length >= atOnce;
  }

  /** Takes the fds, which are the program's. `answer` comes once. */
  start(program: NamedProgram, permit: Permit, fds: readonly OwnedFd[], answer: (started: Started) => void): void {
    const number = this.#next++;
    const timer = setTimeout(() => this.#late(number), startMs).unref();
    const unknown = { pid: 0, pidfd: undefined, watch: undefined, killed: undefined };
    this.#all.set(number, { number, program, permit, answer, timer, ...unknown });
    this.#order({ number, program: program.name }, fds);
  }

  /** The launcher has started it. False for a number that waits for no such word; the pidfd is taken in any case. */
  started(number: number, pid: number, pidfd: OwnedFd): boolean {
    const entry = this.#all.get(number);
    if (entry === undefined || entry.pidfd !== undefined) {
      pidfd.close();
      return false;
    }
    entry.pid = pid;
    entry.pidfd = pidfd;
    entry.watch = native.watchFd({ fd: pidfd.fd, readable: true, writable: false }, () => this.#sawEnd(entry));
    clearTimeout(entry.timer);
    // It was given up meanwhile: the deadline has passed, or what permitted it has ended.
    if (entry.killed !== undefined) {
      this.#kill(entry, entry.killed);
      return true;
    }
    const { seconds } = entry.program;
    entry.timer = setTimeout(() => this.#kill(entry, `it had run for ${seconds} s`), seconds * 1000).unref();
    this.#answer(entry, { kind: 'runs', pid, pidfd, number });
    return true;
  }

  /** The launcher could not start it, or it has ended. Undefined for a number that is not known. */
  ended(number: number, failure: { readonly errno: number; readonly what: string } | undefined): Ended | undefined {
    const entry = this.#all.get(number);
    if (entry === undefined) return undefined;
    this.#all.delete(number);
    clearTimeout(entry.timer);
    entry.watch?.close();
    entry.pidfd?.close();
    this.#answer(entry, {
      kind: 'failed',
      errno: failure?.errno ?? errno.ECHILD,
      what: failure?.what ?? 'it ended at once',
    });
    return { program: entry.program.name, pid: entry.pid, killed: entry.killed };
  }

  /** Ends those whose permission has ended. */
  recheckAll(): void {
    for (const entry of this.#all.values()) {
      if (entry.killed !== undefined || entry.permit.holds()) continue;
      this.#kill(entry, 'what permitted it has ended');
      this.#answer(entry, { kind: 'withdrawn' });
    }
  }

  /** Kills one that runs. */
  end(number: number, why: string): void {
    const entry = this.#all.get(number);
    if (entry !== undefined) this.#kill(entry, why);
  }

  list(): { program: string; pid: number; number: number }[] {
    return [...this.#all.values()]
      .filter(({ pidfd }) => pidfd !== undefined)
      .map(({ program, pid, number }) => ({ program: program.name, pid, number }));
  }

  /** The word of it is on its way, or lost; a lost one must not keep its name busy. */
  #sawEnd(entry: Entry): void {
    entry.watch?.close();
    entry.watch = undefined;
    clearTimeout(entry.timer);
    entry.timer = setTimeout(() => {
      const ended = this.ended(entry.number, undefined);
      if (ended !== undefined) this.#untold(ended);
    }, endWordMs).unref();
  }

  #late(number: number): void {
    const entry = this.#all.get(number);
    if (entry === undefined) return;
    entry.killed = 'the launcher took too long to start it';
    this.#answer(entry, { kind: 'timeout' });
  }

  /** The entry stays until its end: what still dies counts too. */
  #kill(entry: Entry, why: string): void {
    entry.killed = why;
    const { pidfd } = entry;
    // ESRCH: it has ended by itself, and the word of it is on its way.
    if (pidfd !== undefined) attempt(() => native.sendSignal({ pidfd: pidfd.fd, signal: sigkill }));
  }

  #answer(entry: Entry, started: Started): void {
    const { answer } = entry;
    entry.answer = undefined;
    answer?.(started);
  }
}
