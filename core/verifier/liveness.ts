// SPDX-License-Identifier: Apache-2.0
// Which of the accumulator, X and the scratch words a program may still read: states that differ only in the rest are one state.

import { type Instruction, isConditionalJump, opcode } from '../simulator/instruction.ts';

/** Bits 0..15 are the scratch words. */
export const liveA = 1 << 16;
export const liveX = 1 << 17;

/** For each instruction, what is live before it. */
export function liveBefore(instructions: readonly Instruction[]): Int32Array {
  const live = new Int32Array(instructions.length + 1);
  for (let pc = instructions.length - 1; pc >= 0; pc--) {
    live[pc] = liveInto(instructions[pc] as Instruction, pc, live);
  }
  return live;
}

function liveInto(instruction: Instruction, pc: number, live: Int32Array): number {
  const { code, jt, jf, k } = instruction;
  const after = live[pc + 1] as number;
  switch (code) {
    case opcode.loadAbsolute:
    case opcode.loadImmediate:
    case opcode.loadLength:
      return after & ~liveA;
    case opcode.loadMemory:
      return (after & ~liveA) | (1 << k);
    case opcode.loadXImmediate:
    case opcode.loadXLength:
      return after & ~liveX;
    case opcode.loadXMemory:
      return (after & ~liveX) | (1 << k);
    case opcode.store:
      return (after & ~(1 << k)) | liveA;
    case opcode.storeX:
      return (after & ~(1 << k)) | liveX;
    case opcode.copyToX:
      return (after & ~liveX) | liveA;
    case opcode.copyFromX:
      return (after & ~liveA) | liveX;
    case opcode.returnConstant:
      return 0;
    case opcode.returnAccumulator:
      return liveA;
    case opcode.jump:
      return live[pc + 1 + k] as number;
  }
  const readsX = (code & 0x08) !== 0 && code !== opcode.negate ? liveX : 0;
  if (isConditionalJump(code)) return (live[pc + 1 + jt] as number) | (live[pc + 1 + jf] as number) | liveA | readsX;
  return after | liveA | readsX;
}
