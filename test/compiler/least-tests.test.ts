// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { leastByCountedPeels } from '../bench/bound/counted-peels.ts';
import { leastOfAllTrees, leastTests, type Sought } from '../bench/bound/least-tests.ts';

const arbitrarySought = (most: number): fc.Arbitrary<Sought[]> =>
  fc
    .array(
      fc.record({
        weight: fc.constantFrom(0, 1, 2, 10, 50, 200),
        targets: fc.uniqueArray(fc.nat(3), { minLength: 1, maxLength: 2 }),
      }),
      { minLength: 1, maxLength: most },
    )
    .map((drafts) => drafts.map(({ weight, targets }, value) => ({ value, weight, targets: new Set(targets) })));

/** Every tree, one after the other, without remembering anything. */
function byTryingAll(left: readonly Sought[]): number {
  const [first] = left;
  if (first === undefined) return 0;
  if ([...first.targets].some((target) => left.every(({ targets }) => targets.has(target)))) return 0;
  const splits = left.slice(1).map((_, index) => [left.slice(0, index + 1), left.slice(index + 1)] as const);
  const peels = left.map((one) => [[one], left.filter((other) => other !== one)] as const);
  const costs = [...splits, ...peels].map(([some, others]) => byTryingAll(some) + byTryingAll(others));
  return left.reduce((sum, { weight }) => sum + weight, 0) + Math.min(...costs);
}

describe('the least number of tests', () => {
  test('is that of the best of all trees, tried one by one', () => {
    fc.assert(
      fc.property(arbitrarySought(6), (sought) => {
        expect(leastOfAllTrees(sought)).toBeCloseTo(byTryingAll(sought), 6);
      }),
      { numRuns: 150 },
    );
  });

  test('is never above the best tree where only parts are looked at', () => {
    fc.assert(
      fc.property(arbitrarySought(11), fc.constantFrom(4, 6), (sought, most) => {
        const whole = leastOfAllTrees(sought);
        expect(leastTests(sought, most)).toBeLessThanOrEqual(whole + 1e-6);
        expect(leastTests(sought)).toBeCloseTo(whole, 6);
      }),
      { numRuns: 150 },
    );
  });

  test('is never above the best tree where peeled values are counted only, and rarely much below', () => {
    let [bounds, wholes] = [0, 0];
    fc.assert(
      fc.property(arbitrarySought(13), (sought) => {
        const whole = leastOfAllTrees(sought);
        const bound = leastByCountedPeels(sought);
        bounds += bound;
        wholes += whole;
        expect(bound).toBeLessThanOrEqual(whole + 1e-6);
      }),
      { numRuns: 300, seed: 7 },
    );
    expect(bounds / wholes).toBeGreaterThan(0.9);
  });
});
