// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync } from 'node:fs';

/** What /proc tells about one thread. Source: proc_pid_status(5). */
export interface Task {
  readonly tid: number;
  readonly name: string;
  /** 0 none, 1 strict, 2 filter. */
  readonly mode: number;
  /** Filters installed on the thread, inherited ones included. */
  readonly filters: number;
  readonly noNewPrivs: boolean;
}

/** All threads of a process, in tid order; none when it is gone. A thread that ends while we look is left out. */
export function readTasks(pid: number): Task[] {
  return listTids(pid).flatMap((tid) => readTask(pid, tid) ?? []);
}

function listTids(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`)
      .map(Number)
      .sort((a, b) => a - b);
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}

function readTask(pid: number, tid: number): Task | undefined {
  let status: string;
  try {
    status = readFileSync(`/proc/${pid}/task/${tid}/status`, 'utf8');
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
  const field = (name: string): string => statusField(status, name);
  // A zombie thread (the leader of a process whose main thread ended) has no filter to speak of and runs nothing.
  if (field('State').startsWith('Z') || field('State').startsWith('X')) return undefined;
  return {
    tid,
    name: field('Name'),
    mode: Number(field('Seccomp')),
    filters: Number(field('Seccomp_filters')),
    noNewPrivs: field('NoNewPrivs') === '1',
  };
}

/** The process that traces a thread, 0 for none. */
export function tracerOf(tid: number): number {
  try {
    return Number(statusField(readFileSync(`/proc/${tid}/status`, 'utf8'), 'TracerPid'));
  } catch (error) {
    if (isGone(error)) return 0;
    throw error;
  }
}

/** Filters that this process itself runs under (a container's, a service manager's): every child has them too. */
export function ownFilterCount(): number {
  return Number(statusField(readFileSync('/proc/thread-self/status', 'utf8'), 'Seccomp_filters'));
}

/**
 * One field of /proc/PID/status, empty when it is not there. A thread chooses its own name, and the kernel escapes only newlines and backslashes in it:
 * so a line ends at a newline and at nothing else that a regular expression might take for an end.
 */
export function statusField(status: string, name: string): string {
  const line = status.split('\n').find((candidate) => candidate.startsWith(`${name}:`));
  return line?.slice(name.length + 1).trim() ?? '';
}

function isGone(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === 'ENOENT' || code === 'ESRCH';
}
