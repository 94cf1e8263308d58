// SPDX-License-Identifier: Apache-2.0
// Arguments at which a condition can change its answer: every value and mask that it names, and what lies next to them.

import type { Condition } from '../../core/policy/types.ts';

export type Args = readonly [bigint, bigint, bigint, bigint, bigint, bigint];

const all = 0xffff_ffff_ffff_ffffn;

/** Interesting values of each of the six arguments. */
export function interestingValues(conditions: readonly Condition[]): readonly (readonly bigint[])[] {
  const sets = Array.from({ length: 6 }, () => new Set([0n, all]));
  for (const condition of conditions) collect(condition, sets);
  return sets.map((set) => [...set]);
}

function collect(condition: Condition, sets: readonly Set<bigint>[]): void {
  switch (condition.kind) {
    case 'and':
    case 'or':
      for (const term of condition.terms) collect(term, sets);
      return;
    case 'not':
      collect(condition.term, sets);
      return;
    case 'in':
      for (const value of condition.values) add(sets[condition.arg], value);
      return;
    case 'compare':
      add(sets[condition.arg], condition.value, condition.mask, ~condition.mask, condition.value | ~condition.mask);
  }
}

function add(set: Set<bigint> | undefined, ...values: bigint[]): void {
  for (const value of values) for (const near of [value - 1n, value, value + 1n]) set?.add(BigInt.asUintN(64, near));
}

/** Calls that differ in the arguments that the conditions look at: every combination of interesting values, as far as `limit` goes. */
export function* probes(conditions: readonly Condition[], limit = 20_000): Generator<Args> {
  const values = interestingValues(conditions).map((list) => (list.length === 2 ? [0n] : list));
  const total = values.reduce((product, list) => product * list.length, 1);
  // A step that shares no factor with the total visits every combination once, and spreads a cut-off walk over all of them.
  const step = total <= limit ? 1 : 7_368_787;
  for (let count = 0, at = 0; count < Math.min(total, limit); count++, at = (at + step) % total) {
    let rest = at;
    const pick = (index: number): bigint => {
      const list = values[index] ?? [0n];
      const value = list[rest % list.length] ?? 0n;
      rest = Math.floor(rest / list.length);
      return value;
    };
    yield [pick(0), pick(1), pick(2), pick(3), pick(4), pick(5)];
  }
}
