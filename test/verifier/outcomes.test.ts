// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compileFilter } from '../../core/compiler/index.ts';
import { loadProfile } from '../../core/profile-files.ts';
import { returnValue, run } from '../../core/simulator/index.ts';
import { syscallNumber } from '../../core/tables/index.ts';
import { programOutcomes } from '../../core/verifier/index.ts';
import { arbitraryPolicy } from '../compiler/arbitrary-policy.ts';

test('every outcome is one that the program gives to its example', () => {
  fc.assert(
    fc.property(
      arbitraryPolicy,
      fc.array(fc.option(fc.bigInt(0n, 2n ** 64n - 1n), { nil: undefined }), { maxLength: 6 }),
      (policy, known) => {
        const { program } = compileFilter(policy);
        for (const { nr } of policy.syscalls) {
          const outcomes = programOutcomes(program, { arch: policy.arch, nr, known });
          expect(new Set(outcomes.map(({ returned }) => returned)).size).toBe(outcomes.length);
          for (const { returned, example } of outcomes) expect(run(program, example).rawAction).toBe(returned);
        }
      },
    ),
    { numRuns: 50 },
  );
});

test('a call whose verdict hangs on an argument has two outcomes until the argument is known', () => {
  const stage = loadProfile('qemu', { arch: 'x86_64' }).stages[1];
  const { program } = compileFilter((stage as NonNullable<typeof stage>).filter);
  const nr = syscallNumber('x86_64', 'mprotect') as number;
  const outcomes = (known: readonly (bigint | undefined)[]) =>
    programOutcomes(program, { arch: 'x86_64', nr, known }).map(({ returned }) => returned);
  expect(outcomes([]).sort()).toEqual([returnValue.allow, expect.any(Number)].sort());
  expect(outcomes([])).toHaveLength(2);
  expect(outcomes([undefined, undefined, 1n])).toEqual([returnValue.allow]);
  expect(outcomes([undefined, undefined, 4n])).not.toContain(returnValue.allow);
});
