// SPDX-License-Identifier: Apache-2.0
// Reads the kernel's audit lines, from audit.log, journalctl or dmesg: SECCOMP (1326), which has no arguments, and SYSCALL (1300), which has four.
// Pure; the lines come from the caller.

import type { Arch } from '../policy/types.ts';
import { auditArchOf, syscallName } from '../tables/index.ts';
import type { TracedCall } from './strace.ts';

/** The call that a line tells of; undefined for other lines, and for calls of another architecture. */
export function parseAuditLine(line: string, arch: Arch): TracedCall | undefined {
  if (!/\btype=(SECCOMP|1326|SYSCALL|1300)\b/.test(line)) return undefined;
  const field = (name: string): string | undefined => new RegExp(`\\b${name}=(\\w+)`).exec(line)?.[1];
  if (Number.parseInt(field('arch') ?? '', 16) !== auditArchOf(arch)) return undefined;
  const name = syscallName(arch, Number(field('syscall')));
  if (name === undefined) return undefined;
  const args = ['a0', 'a1', 'a2', 'a3'].map((key) => {
    const text = field(key);
    return text === undefined ? undefined : BigInt(`0x${text}`);
  });
  const pid = field('pid');
  const at = /\baudit\((\d+\.\d+):/.exec(line)?.[1];
  return {
    tid: pid === undefined ? undefined : Number(pid),
    at: at === undefined ? undefined : Number(at),
    name,
    args,
  };
}
