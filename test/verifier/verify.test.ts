// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileFilter } from '../../core/compiler/index.ts';
import type { Condition, FilterPolicy } from '../../core/policy/types.ts';
import {
  callWords,
  canonicalAction,
  decodeProgram,
  encodeProgram,
  type Instruction,
  opcode,
  returnValue,
  runOnWords,
} from '../../core/simulator/index.ts';
import { always, Diagrams } from '../../core/verifier/diagram.ts';
import {
  diffPrograms,
  findCounterExample,
  findInvalidity,
  predictBitmap,
  unconditionalSet,
  verifyChain,
  verifyFilter,
} from '../../core/verifier/index.ts';
import { programDiagram } from '../../core/verifier/program-diagram.ts';
import { evaluateOnWords } from '../../core/verifier/words.ts';
import { arbitraryPolicy } from '../compiler/arbitrary-policy.ts';
import { policyOf } from './policy-of.ts';

const op = (code: number, k = 0, jt = 0, jf = 0): Instruction => ({ code, jt, jf, k });

/** Random valid programs: every opcode, jumps forward, a return at the end. */
const arbitraryProgram = fc
  .array(
    fc.record({
      pick: fc.nat(),
      k: fc.oneof(fc.nat(20), fc.integer({ min: 0, max: 0xffffffff })),
      jt: fc.nat(6),
      jf: fc.nat(6),
    }),
    { minLength: 1, maxLength: 24 },
  )
  .map((draft) => {
    // Two whole words in one sum, product or comparison need diagrams of exponential size, so X and the scratch words hold few bits.
    const heavy: number[] = [
      opcode.store,
      opcode.copyToX,
      opcode.multiply,
      opcode.multiplyX,
      opcode.divide,
      opcode.divideX,
      opcode.returnAccumulator,
    ];
    const codes = Object.values(opcode).filter((code) => !heavy.includes(code));
    const body = draft.map(({ pick, k, jt, jf }, index): Instruction => {
      const code = codes[pick % codes.length] as number;
      const room = draft.length - index - 1;
      switch (code) {
        case opcode.loadAbsolute:
          return op(code, (k % 16) * 4);
        case opcode.loadMemory:
        case opcode.loadXMemory:
        case opcode.store:
        case opcode.storeX:
          return op(code, k % 2);
        case opcode.shiftLeft:
        case opcode.shiftRight:
          return op(code, k % 32);
        case opcode.jump:
          return op(code, Math.min(k % 4, room));
        default:
          return (code & 0x07) === 0x05 ? op(code, k, Math.min(jt, room), Math.min(jf, room)) : op(code, k);
      }
    });
    const prefix = [
      op(opcode.loadAbsolute, 16),
      op(opcode.and, 0x1b),
      op(opcode.store, 0),
      op(opcode.loadAbsolute, 0),
      op(opcode.and, 0x80000003),
      op(opcode.store, 1),
      op(opcode.loadAbsolute, 24),
    ];
    return [...prefix, ...body, op(opcode.returnConstant, returnValue.trap)];
  });

describe('programDiagram', () => {
  test('computes what the simulator computes, for random programs of every opcode', () => {
    const words = fc.array(fc.oneof(fc.nat(40), fc.integer({ min: 0, max: 0xffffffff })), {
      minLength: 16,
      maxLength: 16,
    });
    fc.assert(
      fc.property(arbitraryProgram, fc.array(words, { minLength: 20, maxLength: 20 }), (program, calls) => {
        expect(findInvalidity(program)).toBeUndefined();
        const diagrams = new Diagrams();
        const meaning = programDiagram(diagrams, program);
        for (const call of calls) {
          const data = Uint32Array.from(call);
          const simulated = runOnWords(program, data).rawAction;
          expect(evaluateOnWords(diagrams, meaning, data)).toBe(canonicalAction(simulated));
        }
      }),
      { numRuns: 200 },
    );
  });

  test('follows division and multiplication exactly', () => {
    const diagrams = new Diagrams();
    const program = [
      op(opcode.loadAbsolute, 16),
      op(opcode.and, 0xff),
      op(opcode.multiply, 7),
      op(opcode.divide, 7),
      op(opcode.copyToX),
      op(opcode.loadAbsolute, 16),
      op(opcode.and, 0xff),
      op(opcode.jumpEqualX, 0, 0, 1),
      op(opcode.returnConstant, returnValue.allow),
      op(opcode.returnConstant, returnValue.trap),
    ];
    expect(programDiagram(diagrams, program)).toBe(diagrams.terminal(returnValue.allow));
    expect(diagrams.terminal(1)).toBe(always);
  });

  test.each([
    ['few high words', 7],
    ['as many high words', 2 ** 32],
  ])('does not blow up on chains of 64-bit tests that rejoin, with %s', (_, highWords) => {
    const highOf = (index: number): number => ((index * 0x9e3779b1) >>> 0) % highWords;
    const chain: Instruction[] = [];
    for (let index = 0; index < 600; index++) {
      chain.push(
        op(opcode.loadAbsolute, 28),
        op(opcode.jumpEqual, highOf(index), 0, 3),
        op(opcode.loadAbsolute, 24),
        op(opcode.jumpEqual, (index * 2654435761) >>> 0, 0, 1),
        op(opcode.returnConstant, returnValue.allow),
      );
    }
    const program = encodeProgram([...chain, op(opcode.returnConstant, returnValue.killProcess)]);
    const values = Array.from(
      { length: 600 },
      (_, index) => (BigInt(highOf(index)) << 32n) | BigInt((index * 2654435761) >>> 0),
    );
    const when: Condition = { kind: 'in', arg: 1, width: 'full64', values };
    const before = performance.now();
    const differences = diffPrograms(program, policyOf([{ nr: 16, action: { kind: 'allow' }, when }]), 'x86_64');
    expect(performance.now() - before).toBeLessThan(5000);
    expect(differences.some(({ from, to }) => from <= 16 && to >= 16)).toBe(false);
    expect(differences.length).toBeGreaterThan(0);
  });
});

describe('verifyFilter', () => {
  test('gives a concrete call on which a wrong program differs', () => {
    const when: Condition = {
      kind: 'compare',
      arg: 2,
      width: 'low32',
      mask: 0xffffffffn,
      op: '<',
      value: 100n,
      signed: true,
    };
    const policy = policyOf([{ nr: 5, action: { kind: 'allow' }, when }]);
    const { program } = compileFilter(policy);
    expect(() => verifyFilter(program, policy)).not.toThrow();
    const other = policyOf([{ nr: 5, action: { kind: 'allow' }, when: { ...when, value: 101n } }]);
    const found = findCounterExample(program, other);
    expect(found?.call.nr).toBe(5);
    expect((found?.call.args[2] ?? 0n) % 2n ** 32n).toBe(100n);
    expect(() => verifyFilter(program, other)).toThrow(expect.objectContaining({ code: 'FILTER_UNPROVEN' }));
  });

  test.each([
    ['an empty program', []],
    ['a program without a return at its end', [op(opcode.loadLength)]],
    ['a jump past the end', [op(opcode.jumpEqual, 1, 5, 0), op(opcode.returnConstant)]],
    ['an unaligned load', [op(opcode.loadAbsolute, 2), op(opcode.returnConstant)]],
    ['a load past seccomp_data', [op(opcode.loadAbsolute, 64), op(opcode.returnConstant)]],
    ['an unknown opcode', [op(0x30), op(opcode.returnConstant)]],
    ['a division by 0', [op(opcode.divide, 0), op(opcode.returnConstant)]],
    ['a shift by 32', [op(opcode.shiftLeft, 32), op(opcode.returnConstant)]],
    ['a read of scratch memory before a write', [op(opcode.loadMemory, 1), op(opcode.returnConstant)]],
  ])('refuses %s', (_, program) => {
    expect(findInvalidity(program)).toBeDefined();
    expect(() => verifyFilter(encodeProgram(program), policyOf([]))).toThrow(
      expect.objectContaining({ code: 'FILTER_UNPROVEN' }),
    );
  });
});

describe('predictBitmap', () => {
  test('is the set that the policy allows whatever the arguments, for every compiled program', () => {
    fc.assert(
      fc.property(arbitraryPolicy, (policy: FilterPolicy) => {
        const known = (numbers: ReadonlySet<number>): number[] => [...numbers];
        expect(known(predictBitmap(compileFilter(policy).program, policy.arch))).toEqual(
          known(unconditionalSet(policy)),
        );
      }),
      { numRuns: 150 },
    );
  });
});

describe('verifyChain and diffPrograms', () => {
  const first = policyOf([
    { nr: 1, action: { kind: 'allow' }, when: { kind: 'always' } },
    { nr: 2, action: { kind: 'broker' }, when: { kind: 'always' } },
  ]);
  const second = policyOf([
    { nr: 1, action: { kind: 'allow' }, when: { kind: 'in', arg: 0, width: 'low32', values: [3n] } },
  ]);

  test('accept the programs of a chain and name what differs', () => {
    const programs = [first, second].map((policy) => compileFilter(policy).program);
    expect(() => verifyChain(programs, [first, second])).not.toThrow();
    expect(() => verifyChain(programs.toReversed(), [first, second])).toThrow(
      expect.objectContaining({ code: 'FILTER_UNPROVEN' }),
    );
    const differences = diffPrograms(programs[0] as Uint8Array, programs[1] as Uint8Array, 'x86_64');
    expect(
      differences.map(({ from, to, looserInFirst, looserInSecond }) => [from, to, looserInFirst, looserInSecond]),
    ).toEqual([
      [1, 1, true, false],
      [2, 2, true, false],
    ]);
    expect(diffPrograms(programs[0] as Uint8Array, first, 'x86_64')).toEqual([]);
  });

  test('show a difference by a call on which the second is looser, where there is one', () => {
    const allowed = (...values: bigint[]): FilterPolicy =>
      policyOf([{ nr: 1, action: { kind: 'allow' }, when: { kind: 'in', arg: 0, width: 'low32', values } }]);
    const shown = (one: FilterPolicy, other: FilterPolicy): unknown =>
      diffPrograms(one, other, 'x86_64').map(({ call, first, second }) => [call.args[0], first, second]);
    const refused = 0x80000000;
    expect(shown(allowed(1n, 9n), allowed(9n, 70n))).toEqual([[70n, refused, returnValue.allow]]);
    expect(shown(allowed(9n, 70n), allowed(1n, 9n))).toEqual([[1n, refused, returnValue.allow]]);
    expect(shown(allowed(1n, 9n), allowed(9n))).toEqual([[1n, returnValue.allow, refused]]);
  });
});

test('calls have their words in the order of the structure', () => {
  const words = callWords({
    nr: 1,
    auditArch: 2,
    instructionPointer: 0x400000003n,
    args: [0x600000005n, 0n, 0n, 0n, 0n, 7n],
  });
  expect([...words.slice(0, 6), words[14]]).toEqual([1, 2, 3, 4, 5, 6, 7]);
  expect(decodeProgram(encodeProgram([op(opcode.jump, 0xfffffffe)]))[0]?.k).toBe(0xfffffffe);
});
