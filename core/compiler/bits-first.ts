// SPDX-License-Identifier: Apache-2.0
// One bit test before the tree: where most calls lead to one place and none of the others has all of a few bits clear, `nr & mask` finds them with one
// test, however they are spread. A filter on top of others is mostly like that: it lets through what they decide.
import { type SearchItem, type SearchOptions, type SearchTree, searchTree } from './search-tree.ts';

/** Numbers of system calls are below this; what is above goes on to the tree. */
const numbers = 512;

/** Of the masks that would do, so many are tried: those that find the most calls. */
const tried = 3;

export interface BitsFirst {
  /** A number with none of these bits leads to `target`, all others into `rest`. */
  readonly mask: number;
  readonly target: number;
  readonly rest: SearchTree;
  readonly weight: number;
  readonly restWeight: number;
  /** As that of a tree alone. */
  readonly cost: number;
}

/** The best such test; undefined when there is none. `weightAt` tells how often a number is asked for. */
export function bitsFirst(
  items: readonly SearchItem[],
  weightAt: (nr: number) => number,
  options: SearchOptions,
): BitsFirst | undefined {
  const targets = targetsOf(items);
  const weights = Float64Array.from(targets, (_, nr) => weightAt(nr));
  const total = items.reduce((sum, { weight }) => sum + weight, 0);
  return candidates(targets, weights)
    .filter(({ weight }) => weight > total / 2)
    .slice(0, tried)
    .map(({ low, target, weight }): BitsFirst => {
      const { tree, cost } = searchTree(withoutFound(items, targets, weights, low), options);
      const mask = (low | ~(numbers - 1)) >>> 0;
      return { mask, target, rest: tree, weight, restWeight: total - weight, cost: total + cost };
    })
    .reduce<BitsFirst | undefined>((best, one) => (best === undefined || one.cost < best.cost ? one : best), undefined);
}

function targetsOf(items: readonly SearchItem[]): Int32Array {
  const targets = new Int32Array(numbers);
  for (const { from, to, target } of items) if (from < numbers) targets.fill(target, from, Math.min(to + 1, numbers));
  return targets;
}

interface Candidate {
  readonly low: number;
  readonly target: number;
  readonly weight: number;
}

/** Masks that leave one place only, those that find the most calls first. */
function candidates(targets: Int32Array, weights: Float64Array): Candidate[] {
  // Number 0 has no bits.
  const target = targets[0] as number;
  const others = sumOverSubsets(Float64Array.from(targets, (one) => (one === target ? 0 : 1)));
  const found = sumOverSubsets(weights);
  return Array.from({ length: numbers - 1 }, (_, index) => index + 1)
    .filter((low) => others[withoutBits(low)] === 0)
    .map((low): Candidate => ({ low, target, weight: found[withoutBits(low)] as number }))
    .sort((a, b) => b.weight - a.weight || a.low - b.low);
}

/** The largest number that a test for these bits finds; it finds that one's subsets. */
function withoutBits(low: number): number {
  return (numbers - 1) & ~low;
}

/** For each number the sum over all numbers that have no other bits than it. */
function sumOverSubsets(values: Float64Array): Float64Array {
  const sums = values.slice();
  for (let bit = 1; bit < numbers; bit <<= 1)
    for (let nr = 0; nr < numbers; nr++)
      if ((nr & bit) !== 0) sums[nr] = (sums[nr] as number) + (sums[nr ^ bit] as number);
  return sums;
}

/** Numbers that the test has found do not come to the tree: they weigh nothing, and go with the number before them. */
function withoutFound(
  items: readonly SearchItem[],
  targets: Int32Array,
  weights: Float64Array,
  low: number,
): SearchItem[] {
  const left: SearchItem[] = [];
  for (const item of items) {
    if (item.from >= numbers) {
      left.push(item);
      continue;
    }
    for (let nr = item.from; nr <= Math.min(item.to, numbers - 1); nr++) {
      const isFound = (nr & low) === 0;
      const target = isFound ? (left.at(-1)?.target ?? (targets[nr] as number)) : item.target;
      left.push({ from: nr, to: nr, target, weight: isFound ? 0 : (weights[nr] as number) });
    }
    if (item.to >= numbers) left.push({ ...item, from: numbers });
  }
  return left;
}
