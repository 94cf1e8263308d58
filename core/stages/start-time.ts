// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';

/** When a thread began, in clock ticks since boot: with its id it names a thread for ever. Undefined when it is gone. Field 22 of proc_pid_stat(5). */
export function startTimeOf(pid: number, tid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/task/${tid}/stat`, 'utf8');
    // The name may hold blanks and parentheses; field 3 follows the last parenthesis.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[22 - 3];
  } catch {
    return undefined;
  }
}
