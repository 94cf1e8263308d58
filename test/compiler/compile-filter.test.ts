// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type CallCounts, compileFilter } from '../../core/compiler/index.ts';
import type { SyscallCall } from '../../core/policy/types.ts';
import { encodeAction, run } from '../../core/simulator/index.ts';
import { verifyFilter } from '../../core/verifier/index.ts';
import { arbitraryCall, arbitraryPolicy } from './arbitrary-policy.ts';
import { decide } from './reference.ts';

/** The calls as a recorded profile, the first ones as the most frequent. */
function countsOf(calls: readonly SyscallCall[]): CallCounts {
  const counted = new Map<number, number>();
  const values = new Map<number, Map<number, Map<bigint, number>>>();
  calls.slice(0, 20).forEach(({ nr, args }, index) => {
    const count = Math.floor(1000 / (index + 1));
    counted.set(nr, (counted.get(nr) ?? 0) + count);
    const byArgument = values.get(nr) ?? new Map<number, Map<bigint, number>>();
    values.set(nr, byArgument);
    args.forEach((value, arg) => {
      const byValue = byArgument.get(arg) ?? new Map<bigint, number>();
      byArgument.set(arg, byValue.set(value, (byValue.get(value) ?? 0) + count));
    });
  });
  return { calls: counted, values };
}

describe('compileFilter', () => {
  test('decides on random and boundary calls what the policy says, whatever was recorded, and the proof agrees', () => {
    fc.assert(
      fc.property(
        arbitraryPolicy.chain((policy) =>
          fc.tuple(fc.constant(policy), fc.array(arbitraryCall(policy), { minLength: 60, maxLength: 60 })),
        ),
        ([policy, calls]) => {
          const { program } = compileFilter(policy, { counts: countsOf(calls) });
          verifyFilter(program, policy);
          for (const call of calls) expect(run(program, call).rawAction).toBe(encodeAction(decide(policy, call)));
        },
      ),
      { numRuns: 400 },
    );
  });
});
