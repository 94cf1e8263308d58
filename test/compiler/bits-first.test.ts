// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bitsFirst } from '../../core/compiler/bits-first.ts';
import type { SearchItem, SearchTree } from '../../core/compiler/search-tree.ts';

const options = { exactItems: 64, maxPeeled: 6, bucketValues: undefined };
const last = 0xffffffff;

/** Everything leads to 0 but some numbers, each to a place of its own. */
function itemsWithout(others: readonly number[], weights: ReadonlyMap<number, number>): SearchItem[] {
  const items: SearchItem[] = [];
  let from = 0;
  const weightOf = (first: number, to: number): number =>
    [...weights].reduce((sum, [nr, weight]) => (nr >= first && nr <= to ? sum + weight : sum), 0);
  const add = (to: number, target: number): void => {
    if (to >= from) items.push({ from, to, target, weight: weightOf(from, to) });
    from = to + 1;
  };
  for (const [index, nr] of others.toSorted((a, b) => a - b).entries()) {
    add(nr - 1, 0);
    add(nr, index + 1);
  }
  add(last, 0);
  return items;
}

function placeIn(tree: SearchTree, value: number): number {
  switch (tree.kind) {
    case 'leaf':
      return tree.target;
    case 'split':
      return placeIn(value >= tree.at ? tree.above : tree.below, value);
    case 'peel':
      return value === tree.value ? tree.target : placeIn(tree.rest, value);
  }
}

describe('a bit test before the tree', () => {
  test('finds with one test what lies on both sides of the others', () => {
    const weights = new Map([
      [9, 10],
      [10, 10],
      [257, 10],
      [262, 10],
    ]);
    const items = itemsWithout([87, 158, 230, 285, 317, 332, 439], weights);
    const found = bitsFirst(items, (nr) => weights.get(nr) ?? 0, options);
    expect(found).toMatchObject({ target: 0, weight: 40, restWeight: 0, cost: expect.closeTo(40, 0) });
    for (const nr of weights.keys()) expect(nr & (found?.mask ?? last)).toBe(0);
  });

  test('leads every number to where it belongs', () => {
    const numbers = fc.uniqueArray(fc.integer({ min: 1, max: 511 }), { minLength: 1, maxLength: 8 });
    let found = 0;
    fc.assert(
      fc.property(numbers, numbers, (others, asked) => {
        const weights = new Map(asked.filter((nr) => !others.includes(nr)).map((nr, index) => [nr, 1 + index]));
        const items = itemsWithout(others, weights);
        const first = bitsFirst(items, (nr) => weights.get(nr) ?? 0, options);
        if (first === undefined) return;
        found++;
        for (const nr of [...Array(600).keys(), 0x40000000, 0x80000001, last]) {
          const right = items.find(({ from, to }) => from <= nr && nr <= to)?.target;
          expect((nr & first.mask) === 0 ? first.target : placeIn(first.rest, nr)).toBe(right);
        }
      }),
      { numRuns: 200, seed: 3 },
    );
    expect(found).toBeGreaterThan(20);
  });

  test('is not made where few calls would be found', () => {
    const weights = new Map([[44, 100]]);
    expect(bitsFirst(itemsWithout([44], weights), (nr) => weights.get(nr) ?? 0, options)).toBeUndefined();
  });
});
