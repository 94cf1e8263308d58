// SPDX-License-Identifier: Apache-2.0
// Resource limits as /proc/PID/limits has them.
import { readFileSync } from 'node:fs';
import type { Mechanism } from '../launch/report.ts';

/** RLIMIT_ constants (include/uapi/asm-generic/resource.h) with the kernel's names for them (fs/proc/base.c), by the names that profiles have. */
const known: Readonly<Record<string, { readonly number: number; readonly title: string }>> = {
  cpu: { number: 0, title: 'Max cpu time' },
  fsize: { number: 1, title: 'Max file size' },
  data: { number: 2, title: 'Max data size' },
  stack: { number: 3, title: 'Max stack size' },
  core: { number: 4, title: 'Max core file size' },
  rss: { number: 5, title: 'Max resident set' },
  nproc: { number: 6, title: 'Max processes' },
  nofile: { number: 7, title: 'Max open files' },
  memlock: { number: 8, title: 'Max locked memory' },
  as: { number: 9, title: 'Max address space' },
  locks: { number: 10, title: 'Max file locks' },
  sigpending: { number: 11, title: 'Max pending signals' },
  msgqueue: { number: 12, title: 'Max msgqueue size' },
  nice: { number: 13, title: 'Max nice priority' },
  rtprio: { number: 14, title: 'Max realtime priority' },
  rttime: { number: 15, title: 'Max realtime timeout' },
};

export function rlimitNumber(name: string): number | undefined {
  return known[name]?.number;
}

/** One row for all of them. @throws when the process is gone. */
export function verifyRlimits(pid: number, wanted: Readonly<Record<string, number>>): Mechanism {
  const text = readFileSync(`/proc/${pid}/limits`, 'utf8');
  const wrong = Object.entries(wanted).flatMap(([name, limit]) => {
    const { title = name } = known[name] ?? {};
    const line = text.split('\n').find((each) => each.startsWith(title)) ?? '';
    const [soft, hard] = line.slice(title.length).trim().split(/\s+/);
    return [soft, hard].every((each) => holds(each, limit)) ? [] : [`${name} is ${soft} and ${hard}, not ${limit}`];
  });
  const told = Object.entries(wanted).map(([name, limit]) => `${name} ${limit}`);
  return wrong.length === 0
    ? { name: 'rlimits', state: 'enforced', reason: told.join(', ') }
    : { name: 'rlimits', state: 'partial', reason: wrong.join(', ') };
}

/** A limit on open files above the stager's own (exec_fd in native/stager/arguments.h) is made that. */
function holds(found: string | undefined, limit: number): boolean {
  return found !== undefined && found !== 'unlimited' && Number(found) <= limit;
}
