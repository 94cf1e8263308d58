// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { type CallCounts, compileFilter, compileProfile, expectedInstructions } from '../../core/compiler/index.ts';
import type { FilterPolicy, ResolvedProfile } from '../../core/policy/types.ts';
import { maxInstructions } from '../../core/simulator/index.ts';
import { findCounterExample, proveTightening } from '../../core/verifier/index.ts';
import { policyOf } from '../verifier/policy-of.ts';

const valuesOf = (count: number): bigint[] =>
  Array.from({ length: count }, (_, index) => BigInt(Math.imul(index + 1, 0x9e3779b1) >>> 0));

const setOf = (count: number): FilterPolicy => {
  const values = valuesOf(count);
  return policyOf([{ nr: 16, action: { kind: 'allow' }, when: { kind: 'in', arg: 1, width: 'low32', values } }]);
};

const profileOf = (...filters: FilterPolicy[]): ResolvedProfile => ({
  name: 'limits',
  file: 'limits.yaml',
  vmm: 'none',
  arch: 'x86_64',
  stages: filters.map((filter, epoch) => ({ name: `stage${epoch}`, epoch, filter, roles: {}, broker: [] })),
});

const always = { kind: 'always' } as const;
const allow = { kind: 'allow' } as const;

describe('compileFilter', () => {
  test.each([1, 100, 1000, 2500, 3800])('fits a set of %i values into one filter', (count) => {
    const policy = setOf(count);
    const before = performance.now();
    const { program, instructions } = compileFilter(policy);
    expect(performance.now() - before).toBeLessThan(3000);
    expect(instructions).toBeLessThanOrEqual(maxInstructions);
    expect(findCounterExample(program, policy)).toBeUndefined();
  });

  test('says so when no shape fits', () => {
    expect(() => compileFilter(setOf(4200))).toThrow(expect.objectContaining({ code: 'FILTER_TOO_LARGE' }));
  });

  test('gives the same bytes for the same input', () => {
    expect(compileFilter(setOf(300)).program).toEqual(compileFilter(setOf(300)).program);
  });

  test('tests what was recorded as frequent first', () => {
    const policy = setOf(200);
    const hot = valuesOf(200)[77] as bigint;
    const counts: CallCounts = {
      calls: new Map([[16, 1000]]),
      values: new Map([[16, new Map([[1, new Map([[hot, 1000]])]])]]),
    };
    const cost = (options: { counts?: CallCounts }): number =>
      expectedInstructions(compileFilter(policy, options).program, 'x86_64', counts, () => true);
    // Load and test the architecture, load and test the number, load and test the value, return.
    expect(cost({ counts })).toBe(7);
    expect(cost({})).toBeGreaterThan(10);
  });
});

describe('compileProfile', () => {
  const start = policyOf(Array.from({ length: 60 }, (_, nr) => ({ nr: nr * 3, action: allow, when: always })));
  const running = policyOf(
    start.syscalls.filter(({ nr }) => nr !== 30).map(({ nr }) => ({ nr, action: allow, when: always })),
  );

  test('compiles a later stage to what it changes', () => {
    const { stages } = compileProfile(profileOf(start, running));
    expect(stages.map(({ shape }) => shape)).toEqual(['full', 'delta']);
    // Load the number, one test, two returns.
    expect(stages[1]?.instructions).toBe(4);
  });

  test('refuses a profile that loosens, naming both rules and a call', () => {
    const profile = profileOf(running, start);
    expect(proveTightening(profile)).toEqual([
      expect.objectContaining({
        code: 'stage-loosens',
        file: 'policy-of',
        line: 1,
        message: expect.stringMatching(
          /stage1 answers allow to pselect6|stage1 answers allow to \S+\(\) .*stage0 answers with kill-process/,
        ),
      }),
    ]);
    expect(() => compileProfile(profile)).toThrow(expect.objectContaining({ code: 'PROFILE_INVALID' }));
  });

  test('lets a later stage broker what was allowed, and not allow what was brokered', () => {
    const brokered = policyOf([{ nr: 42, action: { kind: 'broker' }, when: always }]);
    const allowed = policyOf([{ nr: 42, action: allow, when: always }]);
    expect(proveTightening(profileOf(allowed, brokered))).toEqual([]);
    expect(proveTightening(profileOf(brokered, allowed))).toHaveLength(1);
  });

  test('lets a role broker what its stage allows, and not allow what that brokers', () => {
    const allowed = policyOf([{ nr: 42, action: allow, when: always }]);
    const brokered = policyOf([{ nr: 42, action: { kind: 'broker' }, when: always }]);
    const problems = (stage: typeof allowed, role: typeof allowed): readonly string[] => {
      const profile = profileOf(stage);
      const stages = profile.stages.map((each) => ({ ...each, roles: { worker: role } }));
      return proveTightening({ ...profile, stages }).map(({ code }) => code);
    };
    expect(problems(allowed, brokered)).toEqual([]);
    expect(problems(brokered, allowed)).toEqual(['role-loosens']);
  });
});
