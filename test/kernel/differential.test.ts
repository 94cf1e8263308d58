// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compileFilter } from '../../core/compiler/index.ts';
import type { Arch, FilterPolicy, SyscallCall } from '../../core/policy/types.ts';
import { auditArch, encodeAction, run } from '../../core/simulator/index.ts';
import { verifyFilter } from '../../core/verifier/index.ts';
import { arbitraryCall, arbitraryPolicy } from '../compiler/arbitrary-policy.ts';
import { decide } from '../compiler/reference.ts';
import { policyOf } from '../verifier/policy-of.ts';
import { KernelProbe, seenByFilters } from './kernel-probe.ts';

const machines: Readonly<Record<string, Arch>> = { x64: 'x86_64', arm64: 'aarch64', riscv64: 'riscv64' };
const arch = machines[process.arch] as Arch;

let probe: KernelProbe;
beforeAll(() => {
  probe = new KernelProbe();
});
afterAll(() => probe[Symbol.dispose]());

const onThisMachine = (policy: FilterPolicy): FilterPolicy => ({ ...policy, arch });

describe('the kernel', () => {
  test('decides as the policy, the program and the simulator do, on random and boundary calls', () => {
    const scenario = arbitraryPolicy.map(onThisMachine).chain((policy) => {
      const call = arbitraryCall(policy)
        .map((given): SyscallCall => ({ ...given, auditArch: auditArch[arch] }))
        .filter(({ nr }) => seenByFilters(arch, nr));
      return fc.tuple(fc.constant(policy), fc.array(call, { minLength: 200, maxLength: 200 }));
    });
    fc.assert(
      fc.property(scenario, ([policy, calls]) => {
        const { program } = compileFilter(policy);
        verifyFilter(program, policy);
        const answers = probe.ask(program, calls);
        calls.forEach((call, index) => {
          const expected = encodeAction(decide(policy, call));
          expect(run(program, call).rawAction).toBe(expected);
          expect({ call, answer: answers[index] }).toEqual({ call, answer: expected });
        });
      }),
      { numRuns: 60, endOnFailure: true },
    );
  }, 120_000);

  test('decides sets too large for a tree as the policy does', () => {
    const values = Array.from({ length: 2500 }, (_, index) => BigInt(Math.imul(index + 1, 0x9e3779b1) >>> 0));
    const policy = onThisMachine(
      policyOf([{ nr: 16, action: { kind: 'allow' }, when: { kind: 'in', arg: 1, width: 'zero32', values } }]),
    );
    const { program } = compileFilter(policy);
    const calls = values.flatMap((value): SyscallCall[] =>
      [value, value + 1n, value | (1n << 32n)].map((request) => ({
        nr: 16,
        auditArch: auditArch[arch],
        args: [0n, request, 0n, 0n, 0n, 0n],
      })),
    );
    expect(probe.ask(program, calls)).toEqual(calls.map((call) => encodeAction(decide(policy, call))));
  });
});
