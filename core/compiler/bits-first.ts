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
  const found: Candidate[] = [];
  for (let low = 1; low < numbers; low++) {
    // Number 0 has no bits.
    const target = targets[0] as number;
    let weight = 0;
    let isOne = true;
    for (let nr = 0; nr < numbers && isOne; nr++) {
      if ((nr & low) !== 0) continue;
      isOne = targets[nr] === target;
      weight += weights[nr] as number;
    }
    if (isOne) found.push({ low, target, weight });
  }
  return found.sort((a, b) => b.weight - a.weight || a.low - b.low);
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
