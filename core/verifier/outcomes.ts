// SPDX-License-Identifier: Apache-2.0
// What a program, from whatever compiler, can answer to one call when only some of its arguments are known.

import type { Arch, SyscallCall } from '../policy/types.ts';
import { argumentOffset, auditArch } from '../simulator/call-data.ts';
import { type Diagram, Diagrams, never } from './diagram.ts';
import { diagramOf } from './diff.ts';
import { withBits } from './fixed-bits.ts';
import { atNumber, ofArch } from './number-ranges.ts';
import { findDifference, firstLevel } from './words.ts';

export interface Outcome {
  /** SECCOMP_RET_*. */
  readonly returned: number;
  /** A call that gets this answer; arguments that do not matter are 0. */
  readonly example: SyscallCall;
}

/**
 * Every answer that the program gives to a number, over all values of the arguments that are not in `known` (64-bit registers by index).
 * Throws ARGUMENT_INVALID for a program that the kernel would refuse.
 */
export function programOutcomes(
  program: Uint8Array,
  call: { readonly arch: Arch; readonly nr: number; readonly known: readonly (bigint | undefined)[] },
): readonly Outcome[] {
  const diagrams = new Diagrams();
  const native = ofArch(diagrams, diagramOf(diagrams, program), call.arch);
  const left = withKnown(diagrams, atNumber(diagrams, native, call.nr), call.known);
  return [...diagrams.values(left)].map((returned) => {
    const here = diagrams.map((value) => (value === returned ? 1 : 0), left);
    const found = findDifference(diagrams, here, never)?.call.args ?? [];
    const at = (index: number): bigint => call.known[index] ?? found[index] ?? 0n;
    const args = [at(0), at(1), at(2), at(3), at(4), at(5)] as const;
    return { returned, example: { nr: call.nr, auditArch: auditArch[call.arch], args } };
  });
}

/** The function with the known arguments' bits put in (64-bit registers by index, undefined where not known). */
export function withKnown(diagrams: Diagrams, diagram: Diagram, known: readonly (bigint | undefined)[]): Diagram {
  const bits = new Map<number, boolean>();
  for (const [index, value] of known.entries()) {
    if (value === undefined) continue;
    for (const [half, word] of [value >> 32n, value & 0xffff_ffffn].entries()) {
      const first = firstLevel(argumentOffset(index, half === 0 ? 'high' : 'low'));
      for (let bit = 0; bit < 32; bit++) bits.set(first + bit, ((word >> BigInt(31 - bit)) & 1n) === 1n);
    }
  }
  return withBits(diagrams, diagram, bits);
}
