// SPDX-License-Identifier: Apache-2.0
// What the kernel demands of any filter before it looks at its meaning (bpf_check_classic and seccomp_check_filter).

import {
  type Instruction,
  isConditionalJump,
  maxInstructions,
  opcode,
  scratchWords,
  seccompDataBytes,
} from '../simulator/instruction.ts';

const known: ReadonlySet<number> = new Set(Object.values(opcode));

/** Why the kernel would refuse to load the program; undefined when it would not. */
export function findInvalidity(instructions: readonly Instruction[]): string | undefined {
  if (instructions.length === 0) return 'it is empty';
  if (instructions.length > maxInstructions)
    return `it has ${instructions.length} instructions, more than ${maxInstructions}`;
  for (const [pc, instruction] of instructions.entries()) {
    const problem = instructionProblem(instruction, pc, instructions.length);
    if (problem !== undefined) return `instruction ${pc} ${problem}`;
  }
  const last = instructions.at(-1) as Instruction;
  if (last.code !== opcode.returnConstant && last.code !== opcode.returnAccumulator)
    return 'it does not end with a return';
  return uninitialisedLoad(instructions);
}

function instructionProblem({ code, jt, jf, k }: Instruction, pc: number, length: number): string | undefined {
  if (!known.has(code)) return `has opcode 0x${code.toString(16)}, which seccomp refuses`;
  if (isConditionalJump(code) && pc + 1 + Math.max(jt, jf) >= length) return 'jumps past the end';
  switch (code) {
    case opcode.jump:
      return pc + 1 + k >= length ? 'jumps past the end' : undefined;
    case opcode.loadAbsolute:
      return k % 4 !== 0 || k >= seccompDataBytes
        ? `loads from offset ${k}, which is not a word of struct seccomp_data`
        : undefined;
    case opcode.loadMemory:
    case opcode.loadXMemory:
    case opcode.store:
    case opcode.storeX:
      return k >= scratchWords ? `uses scratch word ${k} of ${scratchWords}` : undefined;
    case opcode.divide:
      return k === 0 ? 'divides by 0' : undefined;
    case opcode.shiftLeft:
    case opcode.shiftRight:
      return k >= 32 ? `shifts by ${k}` : undefined;
    default:
      return undefined;
  }
}

/** check_load_and_stores: scratch words are written on every way to a read of them. */
function uninitialisedLoad(instructions: readonly Instruction[]): string | undefined {
  const full = 0xffff;
  const written = new Array<number>(instructions.length).fill(full);
  let current = 0;
  for (const [pc, { code, jt, jf, k }] of instructions.entries()) {
    current &= written[pc] as number;
    const meet = (target: number): void => {
      written[target] = (written[target] as number) & current;
    };
    if (code === opcode.store || code === opcode.storeX) current |= 1 << k;
    else if (code === opcode.loadMemory || code === opcode.loadXMemory) {
      if ((current & (1 << k)) === 0) return `instruction ${pc} reads scratch word ${k} before it is written`;
    } else if (code === opcode.jump) {
      meet(pc + 1 + k);
      current = full;
    } else if (isConditionalJump(code)) {
      meet(pc + 1 + jt);
      meet(pc + 1 + jf);
      current = full;
    }
  }
  return undefined;
}
