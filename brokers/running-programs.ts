// SPDX-License-Identifier: Apache-2.0
// Programs that run for this VM. The broker can execute nothing: it decides, makes the streams, and tells the launcher to start the program under the name that it
// judged. A program runs for as long as what permitted it holds, and no longer than its profile says.
import type { StartOrder } from '../core/broker/protocol.ts';
import type { OwnedFd } from '../core/owned-fd.ts';
import type { NamedProgram } from '../core/policy/types.ts';
import { native } from '../native/index.ts';
import type { Permit } from './authority.ts';
import { errno, sigkill } from './linux.ts';
import { attempt } from './native-errno.ts';

/** Of one VM, whatever their names. */
export const maxPrograms = 16;

/** For the launcher's answer. */
const startMs = 10_000;

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
  readonly #all = new Map<number, Entry>();
  #next = 1;

  /** `order` reaches the launcher; it takes the fds. */
  constructor(order: (order: Omit<StartOrder, 'type'>, fds: readonly OwnedFd[]) => void) {
    this.#order = order;
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
    this.#all.set(number, { number, program, permit, answer, timer, pid: 0, pidfd: undefined, killed: undefined });
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

  list(): { program: string; pid: number; number: number }[] {
    return [...this.#all.values()]
      .filter(({ pidfd }) => pidfd !== undefined)
      .map(({ program, pid, number }) => ({ program: program.name, pid, number }));
  }

  #late(number: number): void {
    const entry = this.#all.get(number);
    if (entry === undefined) return;
    entry.killed = 'the launcher took too long to start it';
    this.#answer(entry, { kind: 'timeout' });
  }

  /** The entry stays until the launcher tells of the end: what still dies counts too. */
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
