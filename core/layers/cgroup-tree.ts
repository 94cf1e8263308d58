// SPDX-License-Identifier: Apache-2.0
// Where control groups are: the mounted hierarchy of cgroup v2, and the group that a process is in.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { withoutEscapes } from './verify-root.ts';

/** Where the hierarchy is mounted; undefined when it is not, or only a part of it that this process is not in. */
export function cgroupMount(): string | undefined {
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    const [before = '', after = ''] = line.split(' - ');
    const [, , , root, point] = before.split(' ');
    if (after.startsWith('cgroup2 ') && root === '/' && point !== undefined) return withoutEscapes(point);
  }
  return undefined;
}

/** The group's name as this process sees it, such as /system.slice/vm.service. @throws when the process is gone. */
export function cgroupOf(pid: number | 'self'): string | undefined {
  const lines = readFileSync(`/proc/${pid}/cgroup`, 'utf8').split('\n');
  return lines.find((line) => line.startsWith('0::'))?.slice('0::'.length);
}

/** Words of one of a group's files, such as cgroup.controllers. */
export function wordsOf(folder: string, file: string): readonly string[] {
  return readFileSync(join(folder, file), 'utf8').split(/\s+/).filter(Boolean);
}
