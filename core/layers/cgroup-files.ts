// SPDX-License-Identifier: Apache-2.0
// Limits as a group's files have them.
import { statSync } from 'node:fs';
import { RatchetError } from '../errors.ts';
import type { CgroupLimits, Controller, IoLimit } from '../policy/cgroup-limits.ts';

/** One line to be written to one file. */
export interface CgroupFile {
  readonly controller: Controller;
  readonly name: string;
  readonly text: string;
}

/** Microseconds: what the kernel takes when nothing is said. */
const period = 100_000;

/** @throws RatchetError ARGUMENT_INVALID for a device that is none. */
export function cgroupFiles({ memory, swap, pids, cpu, io }: CgroupLimits): readonly CgroupFile[] {
  const one = (controller: Controller, name: string, value: number | undefined): readonly CgroupFile[] =>
    value === undefined ? [] : [{ controller, name, text: String(value) }];
  return [
    ...one('memory', 'memory.max', memory),
    // What is swapped out would not count.
    ...one('memory', 'memory.swap.max', swap ?? (memory === undefined ? undefined : 0)),
    ...one('pids', 'pids.max', pids),
    ...(cpu === undefined
      ? []
      : [{ controller: 'cpu', name: 'cpu.max', text: `${(cpu * period) / 100} ${period}` } as const]),
    ...(io ?? []).map((limit) => ({ controller: 'io', name: 'io.max', text: ioText(limit) }) as const),
  ];
}

/** Whether the kernel's text says what was written. It rounds bytes down to whole pages, and has a line for each device. */
export function saysSo({ name, text }: CgroupFile, found: string): boolean {
  if (name === 'io.max') return found.split('\n').includes(text);
  if (name === 'memory.max' || name === 'memory.swap.max') {
    const largestPage = 65_536;
    return Number(found) <= Number(text) && Number(found) > Number(text) - largestPage;
  }
  return found.trim() === text;
}

function ioText({ device, ...rates }: IoLimit): string {
  const words = (['rbps', 'wbps', 'riops', 'wiops'] as const).map((key) => `${key}=${rates[key] ?? 'max'}`);
  return [numberOf(device), ...words].join(' ');
}

function numberOf(device: string): string {
  if (!device.startsWith('/')) return device;
  const status = statSync(device, { throwIfNoEntry: false });
  if (status?.isBlockDevice() !== true)
    throw new RatchetError('ARGUMENT_INVALID', `${device} is no block device, and cannot have an io limit`);
  // makedev(3) as Linux has it.
  const major = (status.rdev >> 8) & 0xfff;
  const minor = (status.rdev & 0xff) | ((status.rdev >> 12) & 0xfff00);
  return `${major}:${minor}`;
}
