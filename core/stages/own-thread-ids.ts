// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { readTasks, statusField } from './tasks.ts';

/**
 * The thread that a process itself calls `own`, as it is called here. They differ in a pid namespace: the kernel tells both (NSpid in /proc/PID/status,
 * outermost first). 0 when no thread has that number there.
 */
export function threadIdFromOwn(pid: number, own: number): number {
  if (namesOf(pid, pid).length < 2) return own;
  return readTasks(pid).find(({ tid }) => namesOf(pid, tid).at(-1) === own)?.tid ?? 0;
}

/** What a thread is called in each pid namespace that it is in. */
function namesOf(pid: number, tid: number): readonly number[] {
  try {
    return statusField(readFileSync(`/proc/${pid}/task/${tid}/status`, 'utf8'), 'NSpid')
      .split(/\s+/)
      .map(Number);
  } catch {
    // Gone since it was listed.
    return [];
  }
}
