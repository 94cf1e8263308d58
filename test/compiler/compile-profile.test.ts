// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileProfile } from '../../core/compiler/index.ts';
import type { FilterPolicy, SyscallCall } from '../../core/policy/types.ts';
import { actionOnly, combineActions, encodeAction, refuses, returnValue, run } from '../../core/simulator/index.ts';
import { proveTightening } from '../../core/verifier/index.ts';
import { arbitraryCall } from './arbitrary-policy.ts';
import { arbitraryProfile } from './arbitrary-profile.ts';
import { decide } from './reference.ts';

/** What the kernel and the listener make of a call, programs given oldest first. */
function answer(programs: readonly Uint8Array[], listener: FilterPolicy, call: SyscallCall): number {
  const raw = programs
    .map((program) => run(program, call).rawAction)
    .reduce((older, newer) => combineActions(newer, older));
  return raw === returnValue.userNotification ? encodeAction(decide(listener, call)) : raw;
}

function expectAnswer(actual: number, expected: number): void {
  if (refuses(actual) && refuses(expected))
    expect(actionOnly(actual) | 0).toBeLessThanOrEqual(actionOnly(expected) | 0);
  else expect(actual).toBe(expected);
}

describe('compileProfile', () => {
  test('gives chains that decide, with the listener, what each stage and role says', () => {
    fc.assert(
      fc.property(
        arbitraryProfile.chain((profile) => {
          const calls = profile.stages.map((stage) =>
            fc.array(arbitraryCall(stage.filter), { minLength: 30, maxLength: 30 }),
          );
          return fc.tuple(fc.constant(profile), fc.tuple(...calls));
        }),
        ([profile, calls]) => {
          expect(proveTightening(profile)).toEqual([]);
          const compiled = compileProfile(profile);
          const programs: Uint8Array[] = [];
          compiled.stages.forEach((stage, index) => {
            const given = profile.stages[index] as (typeof profile.stages)[number];
            programs.push(stage.program);
            for (const call of calls.flat()) {
              expectAnswer(answer(programs, given.filter, call), encodeAction(decide(given.filter, call)));
              for (const [name, role] of Object.entries(stage.roles)) {
                const policy = given.roles[name] as FilterPolicy;
                expectAnswer(answer([...programs, role.program], policy, call), encodeAction(decide(policy, call)));
              }
            }
          });
        },
      ),
      { numRuns: 150 },
    );
  }, 120_000);
});
