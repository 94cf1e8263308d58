// SPDX-License-Identifier: Apache-2.0
// The verifier's own test: thousands of damaged programs. Each is refused, or it decides the same on every one of many calls, those on
// which the original and the mutant would most likely part included.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileFilter } from '../../core/compiler/index.ts';
import type { FilterPolicy, SyscallCall } from '../../core/policy/types.ts';
import {
  callWords,
  canonicalAction,
  decodeProgram,
  encodeAction,
  encodeProgram,
  type Instruction,
  isConditionalJump,
  opcode,
  run,
  runOnWords,
} from '../../core/simulator/index.ts';
import { findCounterExample, findInvalidity } from '../../core/verifier/index.ts';
import { arbitraryCall, arbitraryPolicy } from '../compiler/arbitrary-policy.ts';
import { decide } from '../compiler/reference.ts';

interface Mutation {
  readonly what: 'flip' | 'constant' | 'drop' | 'offset' | 'operator' | 'duplicate' | 'word' | 'result';
  readonly at: number;
  readonly bit: number;
}

const arbitraryMutation: fc.Arbitrary<Mutation> = fc.record({
  what: fc.constantFrom('flip', 'constant', 'drop', 'offset', 'operator', 'duplicate', 'word', 'result'),
  at: fc.nat(),
  bit: fc.nat(31),
});

const nth = <T>(items: readonly T[], at: number): T | undefined => items[at % Math.max(1, items.length)];

const fits: Readonly<Record<Mutation['what'], (instruction: Instruction) => boolean>> = {
  flip: ({ code, jt, jf }) => isConditionalJump(code) && jt !== jf,
  constant: ({ code }) => isConditionalJump(code) || code === opcode.and,
  drop: () => true,
  offset: ({ code }) => isConditionalJump(code),
  operator: ({ code }) => isConditionalJump(code),
  duplicate: () => true,
  word: ({ code }) => code === opcode.loadAbsolute,
  result: ({ code }) => code === opcode.returnConstant,
};

const operators = [opcode.jumpEqual, opcode.jumpGreater, opcode.jumpGreaterOrEqual, opcode.jumpSet] as const;

const resultBits = [0x00010000, 0x7fff0000, 1];

function mutate(program: readonly Instruction[], { what, at, bit }: Mutation): Instruction[] | undefined {
  const index = nth(
    program.map((_, pc) => pc).filter((pc) => fits[what](program[pc] as Instruction)),
    at,
  );
  if (index === undefined) return undefined;
  const old = program[index] as Instruction;
  const put = (instruction: Instruction): Instruction[] =>
    program.map((kept, pc) => (pc === index ? instruction : kept));
  switch (what) {
    case 'flip':
      return put({ ...old, jt: old.jf, jf: old.jt });
    case 'constant':
      return put({ ...old, k: (bit === 0 ? old.k + 1 : old.k ^ (1 << bit)) >>> 0 });
    case 'drop':
      return program.filter((_, pc) => pc !== index);
    case 'offset':
      return put(bit % 2 === 0 ? { ...old, jt: (old.jt + 1) & 0xff } : { ...old, jf: (old.jf + 1) & 0xff });
    case 'operator':
      return put({ ...old, code: operators.filter((code) => code !== old.code)[bit % 3] as number });
    case 'duplicate':
      return [...program.slice(0, index), old, ...program.slice(index)];
    case 'word':
      return put({ ...old, k: (old.k ^ (4 << (bit % 4))) & 63 });
    case 'result':
      return put({ ...old, k: (old.k ^ (resultBits[bit % 3] as number)) >>> 0 });
  }
}

describe('the verifier', () => {
  test('refuses every mutant of compiled programs that decides differently anywhere', () => {
    let refused = 0;
    let equivalent = 0;
    let unloadable = 0;
    const scenario = arbitraryPolicy.chain((policy) =>
      fc.tuple(
        fc.constant(policy),
        fc.array(arbitraryMutation, { minLength: 40, maxLength: 40 }),
        fc.array(arbitraryCall(policy), { minLength: 150, maxLength: 150 }),
      ),
    );
    fc.assert(
      fc.property(scenario, ([policy, mutations, calls]) => {
        const program = decodeProgram(compileFilter(policy).program);
        for (const mutation of mutations) {
          const mutant = mutate(program, mutation);
          if (mutant === undefined) continue;
          if (findInvalidity(mutant) !== undefined) {
            expect(() => findCounterExample(encodeProgram(mutant), policy)).toThrow(/would not load/);
            unloadable++;
            continue;
          }
          const counterExample = findCounterExample(encodeProgram(mutant), policy);
          if (counterExample === undefined) {
            // Held to be the same: no call that we can think of says otherwise.
            equivalent++;
            for (const call of [...calls, ...besideConstants(mutant, policy)]) expectSame(mutant, policy, call);
          } else {
            // Held to differ: the call that is given shows it.
            refused++;
            const actual = canonicalAction(run(mutant, counterExample.call).rawAction);
            expect(actual).toBe(counterExample.actual);
            expect(encodeAction(decide(policy, counterExample.call))).toBe(counterExample.expected);
            expect(actual).not.toBe(counterExample.expected);
          }
        }
      }),
      { numRuns: 120 },
    );
    expect(refused).toBeGreaterThan(1500);
    expect(refused + equivalent + unloadable).toBeGreaterThan(3000);
  }, 180_000);
});

function expectSame(mutant: readonly Instruction[], policy: FilterPolicy, call: SyscallCall): void {
  expect(canonicalAction(runOnWords(mutant, callWords(call)).rawAction)).toBe(encodeAction(decide(policy, call)));
}

/** Calls that put every constant of the program, and its neighbours, into the number and into every half of every argument. */
function besideConstants(program: readonly Instruction[], policy: FilterPolicy): SyscallCall[] {
  const arch = { x86_64: 0xc000003e, aarch64: 0xc00000b7, riscv64: 0xc00000f3 }[policy.arch];
  const constants = new Set(
    program
      .filter(({ code }) => isConditionalJump(code))
      .flatMap(({ k }) => [k, k - 1, k + 1].map((value) => value >>> 0)),
  );
  const listed = policy.syscalls.map(({ nr }) => nr);
  return [...constants].flatMap((constant, index): SyscallCall[] => {
    const nr = nth(listed, index) ?? 0;
    const low = BigInt(constant);
    const all = (value: bigint): SyscallCall['args'] => [value, value, value, value, value, value];
    return [
      { nr: constant, auditArch: arch, args: all(0n) },
      { nr, auditArch: arch, args: all(low) },
      { nr, auditArch: arch, args: all(low << 32n) },
      { nr, auditArch: constant, args: all(low) },
    ];
  });
}
