// SPDX-License-Identifier: Apache-2.0
// Executes a filter on one call, instruction by instruction, as the kernel's interpreter would, and counts.

import { RatchetError } from '../errors.ts';
import type { Action, SyscallCall } from '../policy/types.ts';
import { decodeAction } from './action.ts';
import { callWords } from './call-data.ts';
import { decodeProgram, type Instruction, opcode, scratchWords, seccompDataBytes } from './instruction.ts';

export interface SimulatedVerdict {
  readonly action: Action;
  /** The value returned, with its data bits. */
  readonly rawAction: number;
  /** Instructions executed, the return included. */
  readonly instructions: number;
}

/** Runs a program on a call; the positions of the executed instructions are added to `path`. Throws ARGUMENT_INVALID when the program leaves its own bounds or uses an opcode that seccomp refuses. */
export function run(
  program: Uint8Array | readonly Instruction[],
  call: SyscallCall,
  path?: number[],
): SimulatedVerdict {
  const instructions = program instanceof Uint8Array ? decodeProgram(program) : program;
  return runOnWords(instructions, callWords(call), path);
}

/** The same for callers that already hold the instructions and the words of the call. */
export function runOnWords(
  instructions: readonly Instruction[],
  words: Uint32Array,
  path?: number[],
): SimulatedVerdict {
  const memory = new Uint32Array(scratchWords);
  let a = 0;
  let x = 0;
  let executed = 0;
  const finish = (raw: number): SimulatedVerdict => ({
    action: decodeAction(raw),
    rawAction: raw >>> 0,
    instructions: executed,
  });
  for (let pc = 0; ; pc++) {
    const instruction = instructions[pc];
    if (instruction === undefined) throw fault(pc, 'runs past its end');
    const { code, jt, jf, k } = instruction;
    executed++;
    path?.push(pc);
    const conditional = (truth: boolean): void => {
      pc += truth ? jt : jf;
    };
    switch (code) {
      case opcode.loadAbsolute:
        a = words[k >>> 2] ?? 0;
        break;
      case opcode.loadImmediate:
        a = k;
        break;
      case opcode.loadMemory:
        a = memory[k] ?? 0;
        break;
      case opcode.loadLength:
        a = seccompDataBytes;
        break;
      case opcode.loadXImmediate:
        x = k;
        break;
      case opcode.loadXMemory:
        x = memory[k] ?? 0;
        break;
      case opcode.loadXLength:
        x = seccompDataBytes;
        break;
      case opcode.store:
        memory[k] = a;
        break;
      case opcode.storeX:
        memory[k] = x;
        break;
      case opcode.add:
        a = (a + k) >>> 0;
        break;
      case opcode.addX:
        a = (a + x) >>> 0;
        break;
      case opcode.subtract:
        a = (a - k) >>> 0;
        break;
      case opcode.subtractX:
        a = (a - x) >>> 0;
        break;
      case opcode.multiply:
        a = Math.imul(a, k) >>> 0;
        break;
      case opcode.multiplyX:
        a = Math.imul(a, x) >>> 0;
        break;
      case opcode.divide:
        a = Math.floor(a / k);
        break;
      case opcode.divideX:
        // Division by a zero X ends the program with 0 (bpf_convert_filter).
        if (x === 0) return finish(0);
        a = Math.floor(a / x);
        break;
      case opcode.or:
        a = (a | k) >>> 0;
        break;
      case opcode.orX:
        a = (a | x) >>> 0;
        break;
      case opcode.and:
        a = (a & k) >>> 0;
        break;
      case opcode.andX:
        a = (a & x) >>> 0;
        break;
      case opcode.shiftLeft:
        a = (a << k) >>> 0;
        break;
      case opcode.shiftLeftX:
        a = (a << (x & 31)) >>> 0;
        break;
      case opcode.shiftRight:
        a = a >>> k;
        break;
      case opcode.shiftRightX:
        a = a >>> (x & 31);
        break;
      case opcode.negate:
        a = -a >>> 0;
        break;
      case opcode.xor:
        a = (a ^ k) >>> 0;
        break;
      case opcode.xorX:
        a = (a ^ x) >>> 0;
        break;
      case opcode.jump:
        pc += k;
        break;
      case opcode.jumpEqual:
        conditional(a === k);
        break;
      case opcode.jumpEqualX:
        conditional(a === x);
        break;
      case opcode.jumpGreater:
        conditional(a > k);
        break;
      case opcode.jumpGreaterX:
        conditional(a > x);
        break;
      case opcode.jumpGreaterOrEqual:
        conditional(a >= k);
        break;
      case opcode.jumpGreaterOrEqualX:
        conditional(a >= x);
        break;
      case opcode.jumpSet:
        conditional((a & k) !== 0);
        break;
      case opcode.jumpSetX:
        conditional((a & x) !== 0);
        break;
      case opcode.copyToX:
        x = a;
        break;
      case opcode.copyFromX:
        a = x;
        break;
      case opcode.returnConstant:
        return finish(k);
      case opcode.returnAccumulator:
        return finish(a);
      default:
        throw fault(pc, `has opcode 0x${code.toString(16)}, which seccomp refuses`);
    }
  }
}

function fault(pc: number, what: string): RatchetError {
  return new RatchetError('ARGUMENT_INVALID', `the BPF program ${what} at instruction ${pc}`, {
    next: 'the kernel would not load it either',
  });
}
