// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type SearchItem, type SearchTree, searchTree } from '../../core/compiler/search-tree.ts';

const options = { exactItems: 64, maxPeeled: 6, bucketValues: undefined };

const arbitraryItems = (most: number): fc.Arbitrary<SearchItem[]> =>
  fc
    .array(
      fc.record({
        width: fc.constantFrom(1, 1, 1, 5),
        target: fc.nat(3),
        weight: fc.constantFrom(0, 1, 2, 5, 10, 50, 200),
      }),
      { minLength: 1, maxLength: most },
    )
    .map((drafts) => {
      let next = 0;
      return drafts.map(({ width, target, weight }) => {
        const from = next;
        next += width;
        return { from, to: next - 1, target, weight };
      });
    });

/** Where a tree sends a value, and after how many tests. */
function find(tree: SearchTree, value: number): { target: number; tests: number } {
  let at = tree;
  for (let tests = 0; ; tests++) {
    if (at.kind === 'leaf') return { target: at.target, tests };
    if (at.kind === 'split') at = value >= at.at ? at.above : at.below;
    else if (value === at.value) return { target: at.target, tests: tests + 1 };
    else at = at.rest;
  }
}

const expectedTests = (tree: SearchTree, items: readonly SearchItem[]): number =>
  items.reduce((sum, { from, weight }) => sum + weight * find(tree, from).tests, 0);

/** The least expected number of tests over every tree of splits and of peels of any value. */
function optimum(items: readonly SearchItem[]): number {
  const known = new Map<string, number>();
  const solve = (left: readonly SearchItem[]): number => {
    if (left.every(({ target }) => target === left[0]?.target)) return 0;
    const key = left.map(({ from }) => from).join();
    const found = known.get(key);
    if (found !== undefined) return found;
    const weight = left.reduce((sum, item) => sum + item.weight, 0);
    let best = Number.POSITIVE_INFINITY;
    for (let cut = 1; cut < left.length; cut++)
      best = Math.min(best, solve(left.slice(0, cut)) + solve(left.slice(cut)));
    for (const item of left)
      if (item.from === item.to) best = Math.min(best, solve(left.filter((other) => other !== item)));
    known.set(key, weight + best);
    return weight + best;
  };
  return solve(items);
}

describe('searchTree', () => {
  test('sends every value to its interval, grouped, exact or in buckets', () => {
    fc.assert(
      fc.property(
        arbitraryItems(40),
        fc.constantFrom(4, 12, 64),
        fc.constantFrom(undefined, 1, 8),
        (items, exactItems, bucketValues) => {
          const { tree } = searchTree(items, { exactItems, maxPeeled: 4, bucketValues });
          for (const { from, to, target } of items) {
            expect(find(tree, from).target).toBe(target);
            expect(find(tree, to).target).toBe(target);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  test('is within half a percent of the best of all trees', () => {
    fc.assert(
      // The cost counts a taken jump as a tenth of a test more, which no tree can be without.
      fc.property(arbitraryItems(9), (items) => {
        expect(searchTree(items, options).cost).toBeGreaterThanOrEqual(optimum(items) - 1e-6);
      }),
      { numRuns: 200 },
    );
    let found = 0;
    let best = 0;
    for (const items of fc.sample(arbitraryItems(9), { numRuns: 400, seed: 1 })) {
      found += expectedTests(searchTree(items, options).tree, items);
      best += optimum(items);
    }
    expect(found / best).toBeLessThan(1.005);
  });

  test('loses little by grouping long inputs', () => {
    const items = fc.sample(arbitraryItems(120), { numRuns: 12, seed: 2 });
    const total = (exactItems: number): number =>
      items.reduce((sum, given) => sum + searchTree(given, { ...options, exactItems }).cost, 0);
    expect(total(64) / total(200)).toBeLessThan(1.02);
  });
});
