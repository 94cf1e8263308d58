// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileFilter } from '../../core/compiler/index.ts';
import { encodeAction, run } from '../../core/simulator/index.ts';
import { verifyFilter } from '../../core/verifier/index.ts';
import { arbitraryCall, arbitraryPolicy } from './arbitrary-policy.ts';
import { decide } from './reference.ts';

describe('compileFilter', () => {
  test('decides on random and boundary calls what the policy says, and the proof agrees', () => {
    fc.assert(
      fc.property(
        arbitraryPolicy.chain((policy) =>
          fc.tuple(fc.constant(policy), fc.array(arbitraryCall(policy), { minLength: 60, maxLength: 60 })),
        ),
        ([policy, calls]) => {
          const { program } = compileFilter(policy);
          verifyFilter(program, policy);
          for (const call of calls) expect(run(program, call).rawAction).toBe(encodeAction(decide(policy, call)));
        },
      ),
      { numRuns: 400 },
    );
  });
});
