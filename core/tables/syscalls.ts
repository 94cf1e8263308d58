// SPDX-License-Identifier: Apache-2.0
import type { Arch } from '../policy/types.ts';
import { archNames } from './arch.ts';
import { syscallNumbers } from './syscalls.generated.ts';

type Table = { readonly byName: ReadonlyMap<string, number>; readonly byNumber: ReadonlyMap<number, string> };

const tables: Readonly<Record<Arch, Table>> = {
  x86_64: tableOf(syscallNumbers.x86_64),
  aarch64: tableOf(syscallNumbers.aarch64),
  riscv64: tableOf(syscallNumbers.riscv64),
};

/** Number of a system call, or undefined when this architecture has none of that name. */
export function syscallNumber(arch: Arch, name: string): number | undefined {
  return tables[arch].byName.get(name);
}

/** Name of a number, or undefined when it is not in the table. */
export function syscallName(arch: Arch, nr: number): string | undefined {
  return tables[arch].byNumber.get(nr);
}

/** All names, in order of their numbers. */
export function syscallNames(arch: Arch): readonly string[] {
  return [...tables[arch].byName.keys()];
}

/** The architectures that have a call of this name. */
export function archesWith(name: string): readonly Arch[] {
  return archNames.filter((arch) => tables[arch].byName.has(name));
}

/** Highest number in the table. What is above it, no version of this program has heard of. */
export function lastKnownNr(arch: Arch): number {
  return Math.max(...tables[arch].byNumber.keys());
}

function tableOf(numbers: Readonly<Record<string, number>>): Table {
  const rows = Object.entries(numbers);
  return { byName: new Map(rows), byNumber: new Map(rows.map(([name, nr]) => [nr, name])) };
}
