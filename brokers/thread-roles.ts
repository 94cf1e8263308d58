// SPDX-License-Identifier: Apache-2.0
// Which role a thread of the VMM has, for calls that its role judges otherwise than its stage. The launcher tells of the threads that it knows. Of a thread
// made since, the kernel tells enough: a thread has all filters that its maker had, so one with no more filters than a thread without a role is not of a role.
import type { KnownRole } from '../core/policy/thread-verdict.ts';
import { readSmallFile } from './read-file.ts';

export interface KnownThread {
  readonly tid: number;
  /** In clock ticks since boot: field 22 of /proc/TID/stat. A number that was given to another thread has another one. */
  readonly started: number;
  readonly role: string | null;
}

export class ThreadRoles {
  #threads = new Map<number, KnownThread>();
  #filters: number | undefined;

  /** `filters`: as many as a thread without a role has. Until this is first called no thread has a role. */
  learn(filters: number, threads: readonly KnownThread[], startAnew: boolean): void {
    if (startAnew) this.#threads = new Map();
    for (const thread of threads) this.#threads.set(thread.tid, thread);
    this.#filters = filters;
  }

  /** To be asked while the thread waits: its number and its filters cannot change then. */
  roleOf(tid: number): KnownRole {
    if (this.#filters === undefined) return null;
    try {
      const known = this.#threads.get(tid);
      if (known !== undefined && startedAt(tid) === known.started) return known.role;
      return filterCount(tid) <= this.#filters ? null : 'unknown';
    } catch {
      return 'unknown';
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
