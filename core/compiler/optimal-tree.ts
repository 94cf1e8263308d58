// SPDX-License-Identifier: Apache-2.0
// The dynamic programme over (first, last, peeled): a subproblem is a run of groups and how many of its heaviest values are gone. In an optimal
// tree whose leaves are all different only the heaviest value left in a run is peeled [Anderson, Kannan, Karloff, Ladner, Thresholds and
// optimal binary comparison search trees, 2002]. Here leaves can be equal, and then it can also pay to peel the few that are not: a run that
// is one place but for some single values may end in a chain of tests for these.

import { type Group, heaviestByRun } from './group.ts';
import type { SearchResult, SearchTree } from './search-tree.ts';

/** What a jump that is taken costs over one that is not, in instructions. Measured 0.14 ns against 0.6. */
const takenCost = 0.1;

/** Price of one instruction of size, so that of two equally fast trees the smaller is taken. Relative to the total weight. */
export const sizePrice = 1e-5;

/** Most values in a chain that ends a run. */
const mostOdd = 3;

/** The cheapest tree for groups that cover a range in order. `price` is that of one instruction of size. */
export function optimalTree(groups: readonly Group[], maxPeeled: number, price: number): SearchResult {
  return new TreeTable(groups, maxPeeled, price).result();
}

/** What the best tree of a subproblem begins with; otherwise the first group of the upper part of a split. */
const leafHere = -2;
const peelNext = -1;
const peelOdd = -3;

/** Keys of groups of several items count down from -1, those of places up from 0. */
const none = -0x80000000;
const several = none + 1;

class TreeTable {
  private readonly groups: readonly Group[];
  private readonly price: number;
  private readonly layers: number;
  private readonly cost: Float64Array;
  private readonly choice: Int32Array;
  /** Sums of weights before each group. */
  private readonly prefix: Float64Array;
  private readonly weights: Float64Array;
  private readonly keys: Int32Array;
  /** The heaviest peelable groups of a run, heaviest first. */
  private readonly heaviest: (first: number, last: number) => readonly number[];
  /** The groups that are peeled off the run that is being solved. */
  private readonly gone: Uint8Array;
  /** For each run the place of its groups that cannot be peeled: `none` without such, `several` where they are of more than one place. */
  private readonly background: Int32Array;
  /** Of the last `bestSplit`. */
  private splitCost = 0;
  private splitMiddle = 0;

  constructor(groups: readonly Group[], maxPeeled: number, price: number) {
    const depth = Math.min(maxPeeled, groups.filter(({ peelable }) => peelable).length);
    this.groups = groups;
    this.price = price;
    this.layers = depth + 1;
    this.cost = new Float64Array(groups.length ** 2 * this.layers);
    this.choice = new Int32Array(groups.length ** 2 * this.layers);
    this.prefix = new Float64Array(groups.length + 1);
    this.weights = Float64Array.from(groups, ({ weight }) => weight);
    this.keys = Int32Array.from(groups, ({ key }) => key);
    this.heaviest = heaviestByRun(groups, depth);
    this.gone = new Uint8Array(groups.length);
    this.background = this.backgrounds();
    groups.forEach(({ weight }, index) => {
      this.prefix[index + 1] = (this.prefix[index] as number) + weight;
    });
  }

  result(): SearchResult {
    const { length } = this.groups;
    for (let count = 1; count <= length; count++)
      for (let first = 0; first + count <= length; first++) this.solveRun(first, first + count - 1);
    return { tree: this.rebuild(0, length - 1, 0), cost: this.cost[this.at(0, length - 1, 0)] as number };
  }

  private backgrounds(): Int32Array {
    const { groups, keys } = this;
    const { length } = groups;
    const found = new Int32Array(length ** 2);
    for (let first = 0; first < length; first++) {
      let background = none;
      for (let last = first; last < length; last++) {
        const key = keys[last] as number;
        if (!(groups[last] as Group).peelable) background = background === none || background === key ? key : several;
        found[first * length + last] = background;
      }
    }
    return found;
  }

  private at(first: number, last: number, peeled: number): number {
    return (first * this.groups.length + last) * this.layers + peeled;
  }

  /** From all peeled to none, because a state with one more peeled is used by the one before. */
  private solveRun(first: number, last: number): void {
    const top = this.heaviest(first, last);
    let weight = (this.prefix[last + 1] as number) - (this.prefix[first] as number);
    for (const index of top) {
      this.gone[index] = 1;
      weight -= this.weights[index] as number;
    }
    for (let peeled = top.length; peeled >= 0; peeled--) {
      this.solveState(first, last, peeled, Math.max(0, weight), top[peeled]);
      const index = top[peeled - 1];
      if (index === undefined) return;
      this.gone[index] = 0;
      weight += this.weights[index] as number;
    }
  }

  /** `next`: the one that would be peeled, if any may be. */
  private solveState(first: number, last: number, peeled: number, weight: number, next: number | undefined): void {
    const slot = this.at(first, last, peeled);
    const odd = this.oddOnes(first, last);
    if (odd?.values.length === 0) {
      this.cost[slot] = odd.leaf < 0 ? 0 : (this.groups[odd.leaf] as Group).result.cost;
      this.choice[slot] = leafHere;
      return;
    }
    let best = Number.POSITIVE_INFINITY;
    let bestChoice = leafHere;
    if (odd !== undefined) {
      best = this.oddCost(odd, weight);
      bestChoice = peelOdd;
    }
    if (next !== undefined) {
      const hit = this.weights[next] as number;
      const sum =
        weight +
        this.price +
        takenCost * Math.min(hit, weight - hit) +
        (this.cost[this.at(first, last, peeled + 1)] as number);
      if (sum < best) {
        best = sum;
        bestChoice = peelNext;
      }
    }
    this.bestSplit(first, last, peeled, weight);
    if (this.splitCost < best) {
      best = this.splitCost;
      bestChoice = this.splitMiddle;
    }
    this.cost[slot] = best;
    this.choice[slot] = bestChoice;
  }

  /** Leaves what it found in `splitCost` and `splitMiddle`: an object for each of a million states would cost more than the search. */
  private bestSplit(first: number, last: number, peeled: number, weight: number): void {
    const { cost, gone, weights, layers } = this;
    const { length } = this.groups;
    let best = Number.POSITIVE_INFINITY;
    let bestMiddle = first;
    let goneBelow = 0;
    let below = 0;
    let goneBefore = 0;
    for (let middle = first + 1; middle <= last; middle++) {
      const gonePrevious = gone[middle - 1] as number;
      if (gonePrevious === 1) goneBelow++;
      else below += weights[middle - 1] as number;
      // A cut on either side of a peeled value is the same cut.
      const skip = goneBefore & gonePrevious;
      goneBefore = gonePrevious;
      if (skip === 1) continue;
      const sum =
        takenCost * Math.min(below, weight - below) +
        (cost[(first * length + middle - 1) * layers + goneBelow] as number) +
        (cost[(middle * length + last) * layers + peeled - goneBelow] as number);
      if (sum < best) {
        best = sum;
        bestMiddle = middle;
      }
    }
    this.splitCost = weight + this.price + best;
    this.splitMiddle = bestMiddle;
  }

  /** What is left of a run as one place and a few single values that lead elsewhere; undefined where it is not of this form. */
  private oddOnes(first: number, last: number): OddOnes | undefined {
    const { gone, keys, groups } = this;
    if (this.background[first * groups.length + last] === several) return undefined;
    let leaf = -1;
    // The background is what cannot be peeled, or else the place of the first that is left.
    for (let index = first; index <= last; index++) {
      if (gone[index] === 1) continue;
      if (leaf < 0 || !(groups[index] as Group).peelable) leaf = index;
      if (!(groups[index] as Group).peelable) break;
    }
    const values: number[] = [];
    for (let index = first; index <= last; index++) {
      if (gone[index] === 1 || keys[index] === keys[leaf]) continue;
      if (!(groups[index] as Group).peelable || values.length === mostOdd) return undefined;
      values.push(index);
    }
    return { leaf, values };
  }

  private oddCost({ leaf, values }: OddOnes, weight: number): number {
    let cost = (this.groups[leaf] as Group).result.cost;
    let left = weight;
    for (const index of this.heaviestFirst(values)) {
      const hit = this.weights[index] as number;
      cost += left + this.price + takenCost * Math.min(hit, left - hit);
      left -= hit;
    }
    return cost;
  }

  private heaviestFirst(values: readonly number[]): readonly number[] {
    if (values.length < 2) return values;
    return values.toSorted((a, b) => (this.weights[b] as number) - (this.weights[a] as number) || a - b);
  }

  private rebuild(first: number, last: number, peeled: number): SearchTree {
    const chosen = this.choice[this.at(first, last, peeled)] as number;
    const top = this.heaviest(first, last).slice(0, peeled);
    const weightOf = (from: number, to: number): number => {
      let sum = (this.prefix[to + 1] as number) - (this.prefix[from] as number);
      for (const index of top) if (index >= from && index <= to) sum -= this.weights[index] as number;
      return sum;
    };
    switch (chosen) {
      case leafHere: {
        let index = first;
        while (index < last && top.includes(index)) index++;
        return (this.groups[index] as Group).result.tree;
      }
      case peelNext: {
        const next = this.heaviest(first, last)[peeled] as number;
        return this.peel(next, weightOf(first, last), () => this.rebuild(first, last, peeled + 1));
      }
      case peelOdd: {
        this.gone.fill(0);
        for (const index of top) this.gone[index] = 1;
        return this.rebuildOdd(this.oddOnes(first, last) as OddOnes, weightOf(first, last));
      }
      default: {
        const goneBelow = top.filter((index) => index < chosen).length;
        return {
          kind: 'split',
          at: (this.groups[chosen] as Group).from,
          below: this.rebuild(first, chosen - 1, goneBelow),
          above: this.rebuild(chosen, last, peeled - goneBelow),
          belowWeight: weightOf(first, chosen - 1),
          aboveWeight: weightOf(chosen, last),
        };
      }
    }
  }

  private rebuildOdd({ leaf, values }: OddOnes, weight: number): SearchTree {
    const [first, ...others] = this.heaviestFirst(values);
    if (first === undefined) return (this.groups[leaf] as Group).result.tree;
    const left = weight - (this.weights[first] as number);
    return this.peel(first, weight, () => this.rebuildOdd({ leaf, values: others }, left));
  }

  private peel(index: number, weight: number, rest: () => SearchTree): SearchTree {
    const { from, key, weight: hitWeight } = this.groups[index] as Group;
    return { kind: 'peel', value: from, target: key, rest: rest(), hitWeight, restWeight: weight - hitWeight };
  }
}

interface OddOnes {
  /** One of the groups of the place; negative when nothing is left at all. */
  readonly leaf: number;
  /** The others. */
  readonly values: readonly number[];
}
