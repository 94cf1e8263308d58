// SPDX-License-Identifier: Apache-2.0

import { leastByCountedPeels } from './counted-peels.ts';

/** A value that is searched for: what it may lead to, and how often it is asked for. */
export interface Sought {
  readonly value: number;
  readonly weight: number;
  readonly targets: ReadonlySet<number>;
}

/**
 * The least expected number of tests (times weight), `value >= constant` and `value == constant`, that find what each value leads to: no tree
 * for `all`, which is every value there is, in order, needs fewer. A tree for all of them is also one for some of them with fewer tests, and the calls
 * can be shared out: the sum of what each share costs at least is what all cost at least. So the heaviest are looked at together with the
 * neighbours from which they must be told apart, then the heaviest of the rest, and so on. `most`: how many are looked at together, in all subsets.
 * What `leastByCountedPeels` finds is another such bound, and mostly the better one.
 */
export function leastTests(all: readonly Sought[], most = 18): number {
  let bound = leastByCountedPeels(all);
  for (const withNeighbours of [0, most / 6, most / 3])
    bound = Math.max(bound, leastInShares(all, withNeighbours, most));
  return bound;
}

function leastInShares(all: readonly Sought[], withNeighbours: number, most: number): number {
  if (all.every(({ weight }) => weight === 0)) return 0;
  const heaviest = all.map((_, index) => index).sort((a, b) => weightAt(all, b) - weightAt(all, a));
  const chosen = new Set<number>();
  for (const index of heaviest.slice(0, withNeighbours))
    for (const near of [index, ...neighbours(all, index)]) chosen.add(near);
  for (const index of heaviest) if (chosen.size < most) chosen.add(index);
  const some = [...chosen].sort((a, b) => a - b).map((index) => all[index] as Sought);
  const rest = all.map((one, index) => (chosen.has(index) ? { ...one, weight: 0 } : one));
  return leastOfAllTrees(some) + leastInShares(rest, most / 3, most);
}

/** Exactly, by trying every tree on every subset that can be left. */
export function leastOfAllTrees(sought: readonly Sought[]): number {
  const size = 2 ** sought.length;
  const least = new Float64Array(size);
  const masks = targetMasks(sought);
  for (let set = 1; set < size; set++) {
    let common = -1;
    let weight = 0;
    for (let rest = set; rest !== 0; rest &= rest - 1) {
      const index = 31 - Math.clz32(rest & -rest);
      common &= masks[index] as number;
      weight += weightAt(sought, index);
    }
    if (common !== 0) continue;
    let best = Number.POSITIVE_INFINITY;
    for (let rest = set; rest !== 0; rest &= rest - 1) {
      const bit = rest & -rest;
      const below = set & (bit - 1);
      // Every subset has a smaller number than the set.
      const peeled = (least[bit] as number) + (least[set & ~bit] as number);
      best = Math.min(best, peeled, below === 0 ? best : (least[below] as number) + (least[set & ~below] as number));
    }
    least[set] = best + weight;
  }
  return least[size - 1] ?? 0;
}

/** The nearest values on both sides that cannot lead to the same place. */
function neighbours(all: readonly Sought[], index: number): number[] {
  const differs = (other: number): boolean => {
    const targets = all[other]?.targets;
    return targets === undefined || ![...targets].some((target) => all[index]?.targets.has(target));
  };
  const found: number[] = [];
  for (const step of [-1, 1]) {
    let at = index + step;
    while (!differs(at)) at += step;
    if (all[at] !== undefined) found.push(at);
  }
  return found;
}

/** Each value's targets as bits. Past 31 targets several share a bit, which can only make trees look cheaper. */
function targetMasks(sought: readonly Sought[]): Int32Array {
  const bits = new Map<number, number>();
  return Int32Array.from(sought, ({ targets }) => {
    let mask = 0;
    for (const target of targets) {
      const bit = bits.get(target) ?? 1 << (bits.size % 31);
      bits.set(target, bit);
      mask |= bit;
    }
    return mask;
  });
}

function weightAt(all: readonly Sought[], index: number): number {
  return all[index]?.weight ?? 0;
}
