// SPDX-License-Identifier: Apache-2.0
// What a decision asks of each argument, read back from its diagram: the step from bits to sets of 64-bit values.

import { always, type Diagram, type Diagrams, never, terminalLevel } from '../verifier/diagram.ts';

/** Arguments 0 to 5 take 64 levels each, after arch and number; the instruction pointer follows them. */
const bitsPerArgument = 64;
const arguments0 = 64;

/** Level of the most significant bit of an argument. */
export function firstLevelOf(arg: number): number {
  return arguments0 + arg * bitsPerArgument;
}

/** The argument that a decision asks for first; 6 stands for the instruction pointer, undefined for none. */
export function firstArgument(diagrams: Diagrams, decision: Diagram): number | undefined {
  const level = diagrams.level(decision);
  return level === terminalLevel ? undefined : Math.floor((level - arguments0) / bitsPerArgument);
}

/** A set of values of one argument, and what is left to decide when it has one of them. */
export interface Branch {
  readonly values: Diagram;
  readonly rest: Diagram;
}

/** The values of the argument that a decision asks for first, by what they lead to. */
export function branchesOn(diagrams: Diagrams, decision: Diagram, arg: number): readonly Branch[] {
  return partition(diagrams, decision, firstLevelOf(arg) + bitsPerArgument);
}

/** The same for the most significant bits only, down to a level. */
export function partition(diagrams: Diagrams, decision: Diagram, end: number): readonly Branch[] {
  const rests = new Set<Diagram>();
  const seen = new Set<Diagram>();
  const collect = (at: Diagram): void => {
    if (seen.has(at)) return;
    seen.add(at);
    const level = diagrams.level(at);
    if (level >= end) {
      rests.add(at);
      return;
    }
    collect(diagrams.low(at, level));
    collect(diagrams.high(at, level));
  };
  collect(decision);
  return [...rests].map((rest) => {
    const known = new Map<Diagram, Diagram>();
    const leadsThere = (at: Diagram): Diagram => {
      const before = known.get(at);
      if (before !== undefined) return before;
      const level = diagrams.level(at);
      const found =
        level >= end
          ? at === rest
            ? always
            : never
          : diagrams.node(level, leadsThere(diagrams.low(at, level)), leadsThere(diagrams.high(at, level)));
      known.set(at, found);
      return found;
    };
    return { values: leadsThere(decision), rest };
  });
}

export interface Interval {
  readonly low: bigint;
  /** Inclusive. */
  readonly high: bigint;
}

/** `(value & mask) == bits`. */
export interface Cube {
  readonly mask: bigint;
  readonly bits: bigint;
}

/** The runs of values of `bits` bits, the first of them at level `first`; undefined when there are more than `most`. */
export function intervalsOf(
  diagrams: Diagrams,
  set: Diagram,
  { first, bits, most }: { readonly first: number; readonly bits: number; readonly most: number },
): readonly Interval[] | undefined {
  const found: { low: bigint; high: bigint }[] = [];
  const visit = (at: Diagram, level: number, low: bigint): boolean => {
    if (at === never) return true;
    if (at === always) {
      const high = low + (1n << BigInt(first + bits - level)) - 1n;
      const last = found.at(-1);
      if (last !== undefined && last.high === low - 1n) last.high = high;
      else found.push({ low, high });
      return found.length <= most;
    }
    const half = 1n << BigInt(first + bits - level - 1);
    return visit(diagrams.low(at, level), level + 1, low) && visit(diagrams.high(at, level), level + 1, low + half);
  };
  return visit(set, first, 0n) ? found : undefined;
}

/** Masked comparisons of which exactly one holds on each value of the set; undefined when there are more than `most`. */
export function cubesOf(
  diagrams: Diagrams,
  set: Diagram,
  { first, bits, most }: { readonly first: number; readonly bits: number; readonly most: number },
): readonly Cube[] | undefined {
  const found: Cube[] = [];
  const visit = (at: Diagram, mask: bigint, value: bigint): boolean => {
    if (at === never) return true;
    if (at === always) return found.push({ mask, bits: value }) <= most;
    const level = diagrams.level(at);
    const bit = 1n << BigInt(first + bits - 1 - level);
    return (
      visit(diagrams.low(at, level), mask | bit, value) && visit(diagrams.high(at, level), mask | bit, value | bit)
    );
  };
  return visit(set, 0n, 0n) ? found : undefined;
}
