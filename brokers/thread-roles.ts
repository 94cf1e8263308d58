// SPDX-License-Identifier: Apache-2.0
// Which role a thread of the VMM has, for calls that its role judges otherwise than its stage. The launcher tells of the threads that it gave one. Of a thread
// made since, the number of its filters tells: it has those of its maker, and a thread in a role has more than any without (core/compiler/role-marks.ts).
import { readSmallFile } from './read-file.ts';

export interface KnownThread {
  readonly tid: number;
  /** In clock ticks since boot: field 22 of /proc/TID/stat. A number that was given to another thread has another one. */
  readonly started: number;
  readonly role: string;
}

/** The least number of filters that a thread in a role has. */
export interface LeastFilters {
  readonly role: string;
  readonly filters: number;
}

export class ThreadRoles {
  #threads = new Map<number, KnownThread>();
  #least: readonly LeastFilters[] = [];

  /** Until this is first called no thread has a role. */
  learn(least: readonly LeastFilters[], threads: readonly KnownThread[], startAnew: boolean): void {
    if (startAnew) this.#threads = new Map();
    for (const thread of threads) this.#threads.set(thread.tid, thread);
    this.#least = least.toSorted((a, b) => a.filters - b.filters);
  }

  /** So far no thread was given one. */
  get haveNoRoles(): boolean {
    return this.#least.length === 0;
  }

  /** Its role, or those that it may have. To be asked while the thread waits: its number and its filters cannot change then. */
  rolesOf(tid: number): readonly string[] {
    if (this.#least.length === 0) return [];
    try {
      const count = filterCount(tid);
      const possible = this.#least.filter(({ filters }) => filters <= count).map(({ role }) => role);
      const known = this.#threads.get(tid);
      if (known === undefined || startedAt(tid) !== known.started) return possible;
      // The VMM tells the launcher which thread is which. With more filters than that role has it is, or was made by, one of another role too.
      return [known.role, ...possible.slice(possible.indexOf(known.role) + 1)];
    } catch {
      return this.#least.map(({ role }) => role);
    }
  }
}

function startedAt(tid: number): number {
  const stat = readSmallFile(`/proc/${tid}/stat`);
  // The name may hold blanks and parentheses; field 3 follows the last parenthesis.
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[22 - 3]);
}

function filterCount(tid: number): number {
  const prefix = 'Seccomp_filters:';
  // A thread chooses its name, in which the kernel escapes newlines.
  const line = readSmallFile(`/proc/${tid}/status`)
    .split('\n')
    .find((candidate) => candidate.startsWith(prefix));
  return line === undefined ? Number.POSITIVE_INFINITY : Number(line.slice(prefix.length));
}
