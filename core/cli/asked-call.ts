// SPDX-License-Identifier: Apache-2.0
// A call as it is asked for on the command line: `socket domain=AF_INET`.

import { RatchetError } from '../errors.ts';
import { ExpressionError, parseCondition, suggestion } from '../policy/index.ts';
import type { Arch, SyscallCall } from '../policy/types.ts';
import { auditArchOf, syscallName, syscallNames, syscallNumber } from '../tables/index.ts';

/** Registers by index; undefined where no value was given. */
export type Known = readonly (bigint | undefined)[];

export interface AskedCall {
  readonly name: string;
  readonly nr: number;
  readonly known: Known;
}

/** @throws RatchetError ARGUMENT_INVALID. */
export function askedCall(arch: Arch, syscall: string, given: readonly string[]): AskedCall {
  const nr = numberOf(arch, syscall);
  const name = syscallName(arch, nr) ?? `#${nr}`;
  return { name, nr, known: readArguments(arch, name, given) };
}

/** The call itself, with 0 for arguments that were not given. */
export function callWith(arch: Arch, nr: number, known: Known): SyscallCall {
  const at = (index: number): bigint => known[index] ?? 0n;
  return { nr, auditArch: auditArchOf(arch), args: [at(0), at(1), at(2), at(3), at(4), at(5)] };
}

function numberOf(arch: Arch, text: string): number {
  const nr = /^\d+$/.test(text) ? Number(text) : syscallNumber(arch, text);
  if (nr !== undefined && nr <= 0xffff_ffff) return nr;
  throw new RatchetError(
    'ARGUMENT_INVALID',
    `${arch} has no system call ${text}${suggestion(text, syscallNames(arch))}`,
  );
}

/** `domain=AF_INET` to the register that a caller would pass. */
function readArguments(arch: Arch, syscall: string, given: readonly string[]): Known {
  const known: (bigint | undefined)[] = [];
  for (const text of given) {
    const [, name, value] = /^(\w+)=(.+)$/.exec(text) ?? [];
    if (name === undefined) throw new RatchetError('ARGUMENT_INVALID', `${text} is not NAME=VALUE`);
    try {
      const condition = parseCondition(`${name} == ${value}`, { arch, syscall });
      if (condition.kind !== 'compare') throw new ExpressionError(0, 'expression', 'it is not a value');
      if (known[condition.arg] !== undefined) throw new ExpressionError(0, 'expression', `${name} is given twice`);
      known[condition.arg] = condition.value;
    } catch (error) {
      if (!(error instanceof ExpressionError)) throw error;
      throw new RatchetError('ARGUMENT_INVALID', `${text}: ${error.message}`);
    }
  }
  return known;
}
