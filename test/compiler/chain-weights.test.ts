// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { type CallCounts, compileProfile, expectedInstructions } from '../../core/compiler/index.ts';
import type { CompileOptions } from '../../core/compiler/target.ts';
import type { FilterPolicy, ResolvedProfile } from '../../core/policy/types.ts';
import { policyOf } from '../verifier/policy-of.ts';

const allow = { kind: 'allow' } as const;
const always = { kind: 'always' } as const;

/** Every second number below 200 is allowed; of these `tested` only with zero as the first argument. */
function policyWith(tested: readonly number[]): FilterPolicy {
  const numbers = Array.from({ length: 100 }, (_, index) => index * 2);
  const isZero = { kind: 'in', arg: 0, width: 'low32', values: [0n] } as const;
  return policyOf(numbers.map((nr) => ({ nr, action: allow, when: tested.includes(nr) ? isZero : always })));
}

/** A first stage that tests 10 and 130, and a second one with a role that tests 60 too. */
const profile: ResolvedProfile = {
  name: 'weights',
  file: 'weights.yaml',
  vmm: 'none',
  arch: 'x86_64',
  stages: [
    { name: 'first', epoch: 0, filter: policyWith([10, 130]), roles: {}, broker: [] },
    {
      name: 'second',
      epoch: 1,
      filter: policyWith([10, 130]),
      roles: { worker: policyWith([10, 60, 130]) },
      broker: [],
    },
  ],
};

const countsOf = (calls: readonly (readonly [number, number])[]): CallCounts => ({
  calls: new Map(calls),
  values: new Map(),
});

/** What the first stage's program executes for one call. */
function costOf(nr: number, options: CompileOptions): number {
  const program = compileProfile(profile, options).stages[0]?.program ?? Buffer.alloc(0);
  return expectedInstructions(program, 'x86_64', countsOf([[nr, 1]]), () => true);
}

describe("a stage's filter is fast for", () => {
  const early = [10, 1000] as const;
  const late = [130, 900] as const;

  test('what was recorded from its start on', () => {
    const counts = countsOf([early, late]);
    const withStages = { counts, stageCounts: { first: countsOf([late]) } };
    expect(costOf(130, withStages)).toBeLessThan(costOf(130, { counts }));
    expect(costOf(10, withStages)).toBeGreaterThan(costOf(10, { counts }));
  });

  test("what only a role's filter looks at as often as its threads call it", () => {
    const counts = countsOf([early, [60, 100_000]]);
    const seldom = { counts, roleCounts: { worker: countsOf([[60, 1]]) } };
    const often = { counts, roleCounts: { worker: countsOf([[60, 100_000]]) } };
    expect(costOf(10, seldom)).toBeLessThan(costOf(10, often));
    expect(costOf(60, often)).toBeLessThan(costOf(60, seldom));
    expect(costOf(60, often)).toBe(costOf(60, { counts }));
  });
});
