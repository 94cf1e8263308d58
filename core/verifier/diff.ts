// SPDX-License-Identifier: Apache-2.0
// Where two filters, from whatever compilers, decide differently.

import { RatchetError } from '../errors.ts';
import type { Arch, FilterPolicy, SyscallCall } from '../policy/types.ts';
import { archOffset, auditArch } from '../simulator/call-data.ts';
import { decodeProgram } from '../simulator/instruction.ts';
import { constantBits, equal, wordBits } from './bit-vector.ts';
import { type Diagram, Diagrams } from './diagram.ts';
import { ofArch, rangesByNumber } from './number-ranges.ts';
import { type NumberRange, policyDiagram } from './policy-diagram.ts';
import { programDiagram } from './program-diagram.ts';
import { isLooser } from './tightening.ts';
import { findInvalidity } from './validity.ts';
import { findDifference } from './words.ts';

/** A run of numbers with one difference, or a foreign call. */
export interface FilterDifference {
  readonly from: number;
  readonly to: number;
  /**
   * A call that shows it, and what each returns on it: one that the second is looser on where there is such a call, otherwise one that the
   * first is looser on, otherwise any on which they differ.
   */
  readonly call: SyscallCall;
  readonly first: number;
  readonly second: number;
  /** Some call of the run is permitted only by the one, or less strictly refused by it. */
  readonly looserInFirst: boolean;
  readonly looserInSecond: boolean;
  /** Absent arguments never matter: both decide on the number alone. */
  readonly unconditional: boolean;
}

/** A program as bytes, or a policy. */
export type FilterLike = Uint8Array | FilterPolicy;

/** All differences on the calls of one architecture, by number, and then one foreign call if any differs. Empty: they are the same filter. */
export function diffPrograms(first: FilterLike, second: FilterLike, arch: Arch): readonly FilterDifference[] {
  const diagrams = new Diagrams();
  const one = diagramOf(diagrams, first);
  const other = diagramOf(diagrams, second);
  if (one === other) return [];
  const differences = pairs(diagrams, ofArch(diagrams, one, arch), ofArch(diagrams, other, arch)).map(
    ({ from, to, a, b }) => {
      const found = example(diagrams, a, b) as Shown;
      const call = { ...found.call, nr: from, auditArch: auditArch[arch] };
      return { from, to, call, first: found.first, second: found.second, ...directions(diagrams, a, b) };
    },
  );
  const native = equal(diagrams, wordBits(diagrams, archOffset), constantBits(BigInt(auditArch[arch]), 32));
  const foreignOther = diagrams.choose(native, one, other);
  const foreign = example(diagrams, one, foreignOther);
  if (foreign === undefined) return differences;
  const { call } = foreign;
  return [
    ...differences,
    { from: call.nr, to: call.nr, ...foreign, ...directions(diagrams, one, foreignOther), unconditional: false },
  ];
}

/** Throws ARGUMENT_INVALID for a program that the kernel would refuse. */
export function diagramOf(diagrams: Diagrams, filter: FilterLike): Diagram {
  if (!(filter instanceof Uint8Array)) return policyDiagram(diagrams, filter);
  const instructions = decodeProgram(filter);
  const invalidity = findInvalidity(instructions);
  if (invalidity !== undefined)
    throw new RatchetError('ARGUMENT_INVALID', `this is no seccomp filter: ${invalidity}`, {
      next: 'the kernel would refuse it too',
    });
  return programDiagram(diagrams, instructions);
}

type Shown = NonNullable<ReturnType<typeof findDifference>>;

function example(diagrams: Diagrams, a: Diagram, b: Diagram): Shown | undefined {
  // Equal to the one where nothing is looser, so that a difference is a loosening.
  const loosened = diagrams.combine((one, other) => (isLooser(one, other) ? other : one), a, b);
  const tightened = diagrams.combine((one, other) => (isLooser(other, one) ? other : one), a, b);
  return (
    findDifference(diagrams, a, loosened) ?? findDifference(diagrams, a, tightened) ?? findDifference(diagrams, a, b)
  );
}

function directions(
  diagrams: Diagrams,
  a: Diagram,
  b: Diagram,
): Pick<FilterDifference, 'looserInFirst' | 'looserInSecond' | 'unconditional'> {
  const looser = (x: Diagram, y: Diagram): boolean =>
    diagrams.values(diagrams.combine((before, after) => (isLooser(before, after) ? 1 : 0), x, y)).has(1);
  return {
    looserInFirst: looser(b, a),
    looserInSecond: looser(a, b),
    unconditional: diagrams.isTerminal(a) && diagrams.isTerminal(b),
  };
}

function pairs(
  diagrams: Diagrams,
  first: Diagram,
  second: Diagram,
): { from: number; to: number; a: Diagram; b: Diagram }[] {
  const left = rangesByNumber(diagrams, first);
  const right = rangesByNumber(diagrams, second);
  const result: { from: number; to: number; a: Diagram; b: Diagram }[] = [];
  let i = 0;
  let j = 0;
  for (let from = 0; i < left.length && j < right.length; ) {
    const { to: leftTo, decision: a } = left[i] as NumberRange;
    const { to: rightTo, decision: b } = right[j] as NumberRange;
    const to = Math.min(leftTo, rightTo);
    if (a !== b) result.push({ from, to, a, b });
    from = to + 1;
    if (leftTo === to) i++;
    if (rightTo === to) j++;
  }
  return result;
}
