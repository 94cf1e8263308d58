// SPDX-License-Identifier: Apache-2.0
// The smallest shape: halves until a run is few values against one background, then a chain of equality tests.

import type { SearchItem, SearchResult, SearchTree } from './search-tree.ts';

/** `bucketValues`: the most values of one chain. */
export function bucketTree(items: readonly SearchItem[], bucketValues: number, price: number): SearchResult {
  const bucket = asBucket(items, bucketValues);
  if (bucket !== undefined) return chain(bucket, price);
  const middle = middleOf(items);
  const lower = items.slice(0, middle);
  const upper = items.slice(middle);
  const below = bucketTree(lower, bucketValues, price);
  const above = bucketTree(upper, bucketValues, price);
  const belowWeight = weightOf(lower);
  const aboveWeight = weightOf(upper);
  return {
    tree: {
      kind: 'split',
      at: (items[middle] as SearchItem).from,
      below: below.tree,
      above: above.tree,
      belowWeight,
      aboveWeight,
    },
    cost: belowWeight + aboveWeight + price + below.cost + above.cost,
  };
}

interface Bucket {
  readonly background: number;
  readonly backgroundWeight: number;
  readonly values: readonly SearchItem[];
}

function asBucket(items: readonly SearchItem[], most: number): Bucket | undefined {
  const counts = new Map<number, number>();
  let wide: number | undefined;
  for (const { from, to, target } of items) {
    counts.set(target, (counts.get(target) ?? 0) + 1);
    if (from === to) continue;
    if (wide !== undefined && wide !== target) return undefined;
    wide = target;
  }
  const background = wide ?? ([...counts].reduce((a, b) => (b[1] > a[1] ? b : a))[0] as number);
  if (items.length - (counts.get(background) as number) > most) return undefined;
  const values = items.filter(({ target }) => target !== background);
  return {
    background,
    backgroundWeight: weightOf(items.filter(({ target }) => target === background)),
    values: values.sort((a, b) => b.weight - a.weight || a.from - b.from),
  };
}

/** One equality test a value, heaviest first. */
function chain({ background, backgroundWeight, values }: Bucket, price: number): SearchResult {
  let tree: SearchTree = { kind: 'leaf', target: background };
  let restWeight = backgroundWeight;
  let cost = 0;
  for (const { from, target, weight } of values.toReversed()) {
    tree = { kind: 'peel', value: from, target, rest: tree, hitWeight: weight, restWeight };
    restWeight += weight;
    cost += restWeight + price;
  }
  return { tree, cost };
}

/** Beside a wide interval if there is one, so that a value and its neighbours stay in one bucket. */
function middleOf(items: readonly SearchItem[]): number {
  const middle = items.length >>> 1;
  const { from, to } = items[middle] as SearchItem;
  return from === to && middle > 1 ? middle - 1 : middle;
}

function weightOf(items: readonly SearchItem[]): number {
  return items.reduce((sum, { weight }) => sum + weight, 0);
}
