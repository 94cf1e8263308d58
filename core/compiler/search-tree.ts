// SPDX-License-Identifier: Apache-2.0
// Two-way-comparison trees: which comparisons find the interval that a 32-bit value lies in, at the least expected cost.
//
// A test is `value >= constant`, which splits a run of intervals, or `value == constant`, which peels one value off it. Short inputs are solved
// as a whole (optimal-tree.ts), long ones in groups (group-items.ts), and those that would not fit into a filter as buckets (bucket-tree.ts).

import { bucketTree } from './bucket-tree.ts';
import { single } from './group.ts';
import { groupItems } from './group-items.ts';
import { optimalTree, sizePrice } from './optimal-tree.ts';

/** Values from `from` to `to`, inclusive, that lead to one place. */
export interface SearchItem {
  readonly from: number;
  readonly to: number;
  readonly target: number;
  /** How often a value of the interval is asked for, in any unit. */
  readonly weight: number;
}

export type SearchTree =
  | { readonly kind: 'leaf'; readonly target: number }
  | {
      readonly kind: 'split';
      readonly at: number;
      readonly below: SearchTree;
      readonly above: SearchTree;
      readonly belowWeight: number;
      readonly aboveWeight: number;
    }
  | {
      readonly kind: 'peel';
      readonly value: number;
      readonly target: number;
      readonly rest: SearchTree;
      readonly hitWeight: number;
      readonly restWeight: number;
    };

export interface SearchOptions {
  /** Longest run solved exactly. Longer ones are grouped. */
  readonly exactItems: number;
  /** Most values peeled off one run, one below the other. */
  readonly maxPeeled: number;
  /** When set: runs of up to this many values against one background become a chain of equality tests, one instruction a value. */
  readonly bucketValues: number | undefined;
}

export interface SearchResult {
  readonly tree: SearchTree;
  /** Expected cost in instructions times weight, leaves not counted. */
  readonly cost: number;
}

/** Share of all lookups from which on a single value is worth a test of its own, though its neighbours lead to the same place. */
export const heavyShare = 0.02;

/** The tree for items that cover a range without holes, in order. Adjacent light items with one target count as one. */
export function searchTree(given: readonly SearchItem[], options: SearchOptions): SearchResult {
  const total = given.reduce((sum, item) => sum + item.weight, 0) || 1;
  const items = mergeEqual(given, options.bucketValues === undefined ? total * heavyShare : Number.POSITIVE_INFINITY);
  const price = total * sizePrice;
  return options.bucketValues === undefined
    ? solve(items, options, price)
    : bucketTree(items, options.bucketValues, price);
}

function mergeEqual(items: readonly SearchItem[], heavy: number): SearchItem[] {
  const merged: SearchItem[] = [];
  const isLight = (item: SearchItem): boolean => item.from !== item.to || item.weight < heavy;
  for (const item of items) {
    const last = merged.at(-1);
    if (last !== undefined && last.target === item.target && isLight(last) && isLight(item)) {
      merged[merged.length - 1] = { ...last, to: item.to, weight: last.weight + item.weight };
    } else merged.push(item);
  }
  return merged;
}

/** Exactly where the run is short enough, in groups otherwise. */
function solve(items: readonly SearchItem[], options: SearchOptions, price: number): SearchResult {
  const groups =
    items.length <= options.exactItems
      ? items.map(single)
      : groupItems(items, options.exactItems, (part) => solve(part, options, price));
  return optimalTree(groups, options.maxPeeled, price);
}
