// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import type { Action, SyscallCall } from '../../core/policy/types.ts';
import {
  combineActions,
  decodeAction,
  disassemble,
  encodeAction,
  encodeProgram,
  type Instruction,
  opcode,
  returnValue,
  run,
} from '../../core/simulator/index.ts';

const op = (code: number, k = 0, jt = 0, jf = 0): Instruction => ({ code, jt, jf, k });

const call = (nr: number, ...args: bigint[]): SyscallCall => ({
  nr,
  auditArch: 0xc000003e,
  args: [args[0] ?? 0n, args[1] ?? 0n, args[2] ?? 0n, args[3] ?? 0n, args[4] ?? 0n, args[5] ?? 0n],
});

/** A program that leaves `value` in the accumulator's 16 data bits of an ERRNO. */
const returning = (...computation: Instruction[]): number =>
  run(encodeProgram([...computation, op(opcode.returnAccumulator)]), call(7, 0x1_0000_0002n)).rawAction;

describe('run', () => {
  test('loads each word of seccomp_data from its offset', () => {
    const words = [0, 4, 16, 20].map((offset) => returning(op(opcode.loadAbsolute, offset)));
    expect(words).toEqual([7, 0xc000003e, 2, 1]);
  });

  test('computes as the kernel does on 32 bits', () => {
    const a = op(opcode.loadImmediate, 0xfffffff0);
    const x = op(opcode.loadXImmediate, 35);
    expect(returning(a, op(opcode.add, 0x20))).toBe(0x10);
    expect(returning(a, op(opcode.subtract, 0xfffffff1))).toBe(0xffffffff);
    expect(returning(a, op(opcode.multiply, 0x10))).toBe(0xffffff00);
    expect(returning(a, op(opcode.divide, 3))).toBe(0x55555550);
    expect(returning(a, op(opcode.negate))).toBe(0x10);
    expect(returning(a, op(opcode.shiftRight, 4))).toBe(0x0fffffff);
    expect(returning(a, x, op(opcode.shiftLeftX))).toBe(0xffffff80);
    expect(returning(a, op(opcode.xor, 0xff))).toBe(0xffffff0f);
    expect(returning(a, op(opcode.store, 3), op(opcode.loadImmediate), op(opcode.loadMemory, 3))).toBe(0xfffffff0);
    expect(returning(a, op(opcode.copyToX), op(opcode.loadImmediate, 1), op(opcode.copyFromX))).toBe(0xfffffff0);
    expect(returning(op(opcode.loadLength))).toBe(64);
  });

  test('ends with 0 where it divides by an X of 0', () => {
    expect(returning(op(opcode.loadImmediate, 5), op(opcode.loadXImmediate, 0), op(opcode.divideX))).toBe(0);
  });

  test('counts the instructions of the way taken', () => {
    const program = encodeProgram([
      op(opcode.loadAbsolute, 0),
      op(opcode.jumpEqual, 7, 0, 1),
      op(opcode.returnConstant, returnValue.allow),
      op(opcode.jump, 0),
      op(opcode.returnConstant, returnValue.killProcess),
    ]);
    expect(run(program, call(7))).toEqual({ action: { kind: 'allow' }, rawAction: returnValue.allow, instructions: 3 });
    expect(run(program, call(8))).toEqual({
      action: { kind: 'kill-process' },
      rawAction: returnValue.killProcess,
      instructions: 4,
    });
  });

  test('refuses a program that runs past its end or has an unknown opcode', () => {
    expect(() => run(encodeProgram([op(opcode.loadLength)]), call(1))).toThrow(/runs past its end/);
    expect(() => run(encodeProgram([op(0xff)]), call(1))).toThrow(/opcode 0xff/);
    expect(() => run(new Uint8Array(9), call(1))).toThrow(/8-byte/);
  });
});

describe('actions', () => {
  const actions: Action[] = [
    { kind: 'allow' },
    { kind: 'broker' },
    { kind: 'log' },
    { kind: 'errno', errno: 13, quiet: true },
    { kind: 'trap' },
    { kind: 'trace', data: 9 },
    { kind: 'kill-thread' },
    { kind: 'kill-process' },
  ];

  test('are read back as they were written', () => {
    for (const action of actions) expect(decodeAction(encodeAction(action))).toEqual(action);
  });

  test('of two filters the stricter wins, and of two equal ones the newer filter data', () => {
    const order = ['kill-process', 'kill-thread', 'trap', 'errno', 'broker', 'trace', 'log', 'allow'];
    for (const a of actions) {
      for (const b of actions) {
        const won = decodeAction(combineActions(encodeAction(a), encodeAction(b))).kind;
        expect(order.indexOf(won)).toBe(Math.min(order.indexOf(a.kind), order.indexOf(b.kind)));
      }
    }
    expect(combineActions(0x00050001, 0x0005000d)).toBe(0x00050001);
  });
});

describe('disassemble', () => {
  test('names syscalls, architectures, words and jump targets', () => {
    const program = [
      op(opcode.loadAbsolute, 4),
      op(opcode.jumpEqual, 0xc000003e, 0, 5),
      op(opcode.loadAbsolute, 0),
      op(opcode.jumpEqual, 16, 0, 2),
      op(opcode.loadAbsolute, 28),
      op(opcode.jumpSet, 0xff, 1, 0),
      op(opcode.returnConstant, returnValue.allow),
      op(opcode.returnConstant, 0x0005000d),
    ];
    expect(disassemble(encodeProgram(program), 'x86_64')).toEqual([
      '      A = arch',
      '      if (A == x86_64) goto 2 else goto 7',
      '   2: A = nr',
      '      if (A == 16 (ioctl)) goto 4 else goto 6',
      '   4: A = arg1.high',
      '      if (A & 0xff) goto 7 else goto 6',
      '   6: return ALLOW',
      '   7: return ERRNO(13)',
    ]);
  });
});
