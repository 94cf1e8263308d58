// SPDX-License-Identifier: Apache-2.0
// A listing of a program for people: one instruction a line, jump targets as line numbers, constants by what they are compared with.

import type { Arch } from '../policy/types.ts';
import { syscallName } from '../tables/index.ts';
import { describeAction } from './action.ts';
import { archOffset, auditArch, numberOffset } from './call-data.ts';
import { decodeProgram, type Instruction, isConditionalJump, opcode } from './instruction.ts';

/** What the accumulator holds before each instruction, as far as the listing needs it. */
type Contents = 'number' | 'arch' | 'other';

/** The lines of a listing. `arch` gives the syscall numbers their names. */
export function disassemble(program: Uint8Array | readonly Instruction[], arch: Arch): string[] {
  const instructions = program instanceof Uint8Array ? decodeProgram(program) : program;
  const contents = accumulatorContents(instructions);
  const targets = jumpTargets(instructions);
  return instructions.map((instruction, pc) => {
    const label = targets.has(pc) ? `${pc}:` : '';
    return `${label.padStart(5)} ${describeInstruction(instruction, pc, contents[pc] ?? 'other', arch)}`;
  });
}

function describeInstruction(instruction: Instruction, pc: number, contents: Contents, arch: Arch): string {
  const { code, jt, jf, k } = instruction;
  if (isConditionalJump(code)) {
    const right = (code & 0x08) !== 0 ? 'X' : constantText(k, contents, code, arch);
    return `if (A ${comparisonSigns[code & ~0x08] ?? '?'} ${right}) goto ${pc + 1 + jt} else goto ${pc + 1 + jf}`;
  }
  switch (code) {
    case opcode.jump:
      return `goto ${pc + 1 + k}`;
    case opcode.returnConstant:
      return `return ${describeAction(k)}`;
    case opcode.returnAccumulator:
      return 'return A';
    case opcode.loadAbsolute:
      return `A = ${wordName(k)}`;
    case opcode.loadImmediate:
      return `A = ${hex(k)}`;
    case opcode.loadMemory:
      return `A = M[${k}]`;
    case opcode.loadLength:
      return 'A = sizeof(seccomp_data)';
    case opcode.loadXImmediate:
      return `X = ${hex(k)}`;
    case opcode.loadXMemory:
      return `X = M[${k}]`;
    case opcode.loadXLength:
      return 'X = sizeof(seccomp_data)';
    case opcode.store:
      return `M[${k}] = A`;
    case opcode.storeX:
      return `M[${k}] = X`;
    case opcode.copyToX:
      return 'X = A';
    case opcode.copyFromX:
      return 'A = X';
    case opcode.negate:
      return 'A = -A';
    default: {
      const sign = arithmeticSigns[code & ~0x08];
      return sign === undefined
        ? `invalid opcode 0x${code.toString(16)}`
        : `A ${sign}= ${(code & 0x08) !== 0 ? 'X' : hex(k)}`;
    }
  }
}

const comparisonSigns: Readonly<Record<number, string>> = {
  [opcode.jumpEqual]: '==',
  [opcode.jumpGreater]: '>',
  [opcode.jumpGreaterOrEqual]: '>=',
  [opcode.jumpSet]: '&',
};

const arithmeticSigns: Readonly<Record<number, string>> = {
  [opcode.add]: '+',
  [opcode.subtract]: '-',
  [opcode.multiply]: '*',
  [opcode.divide]: '/',
  [opcode.or]: '|',
  [opcode.and]: '&',
  [opcode.xor]: '^',
  [opcode.shiftLeft]: '<<',
  [opcode.shiftRight]: '>>',
};

/** The name of a word of struct seccomp_data by its offset. */
export function wordName(offset: number): string {
  if (offset === numberOffset) return 'nr';
  if (offset === archOffset) return 'arch';
  const half = offset % 8 === 0 ? 'low' : 'high';
  return offset < 16 ? `ip.${half}` : `arg${(offset - 16) >> 3}.${half}`;
}

function constantText(k: number, contents: Contents, code: number, arch: Arch): string {
  if (contents === 'arch') {
    const name = (Object.keys(auditArch) as Arch[]).find((candidate) => auditArch[candidate] === k);
    return name ?? hex(k);
  }
  if (contents === 'number' && code !== opcode.jumpSet) {
    const name = syscallName(arch, k);
    return name === undefined ? `${k}` : `${k} (${name})`;
  }
  return hex(k);
}

function hex(k: number): string {
  return k < 10 ? `${k}` : `0x${k.toString(16)}`;
}

function jumpTargets(instructions: readonly Instruction[]): ReadonlySet<number> {
  const targets = new Set<number>();
  instructions.forEach(({ code, jt, jf, k }, pc) => {
    if (code === opcode.jump) targets.add(pc + 1 + k);
    else if (isConditionalJump(code)) targets.add(pc + 1 + jt).add(pc + 1 + jf);
  });
  return targets;
}

/** What every way to an instruction has loaded last; `other` where the ways disagree. */
function accumulatorContents(instructions: readonly Instruction[]): readonly (Contents | undefined)[] {
  const before: (Contents | undefined)[] = new Array<undefined>(instructions.length).fill(undefined);
  const reach = (pc: number, contents: Contents): void => {
    before[pc] = before[pc] === undefined || before[pc] === contents ? contents : 'other';
  };
  reach(0, 'other');
  instructions.forEach(({ code, jt, jf, k }, pc) => {
    const here = before[pc];
    if (here === undefined || code === opcode.returnConstant || code === opcode.returnAccumulator) return;
    if (code === opcode.jump) reach(pc + 1 + k, here);
    else if (isConditionalJump(code)) {
      reach(pc + 1 + jt, here);
      reach(pc + 1 + jf, here);
    } else reach(pc + 1, contentsAfter(code, k, here));
  });
  return before;
}

function contentsAfter(code: number, k: number, here: Contents): Contents {
  if (code === opcode.loadAbsolute) return k === numberOffset ? 'number' : k === archOffset ? 'arch' : 'other';
  const keepsAccumulator =
    code === opcode.store || code === opcode.storeX || code === opcode.copyToX || (code & 0x07) === 0x01;
  return keepsAccumulator ? here : 'other';
}
