// SPDX-License-Identifier: Apache-2.0
// The kernel's constant-action bitmap (Linux 5.11): which numbers it will allow without running the filter.

import type { Arch, FilterPolicy } from '../policy/types.ts';
import { returnValue } from '../simulator/action.ts';
import { archOffset, auditArch, numberOffset } from '../simulator/call-data.ts';
import { decodeProgram, type Instruction, opcode } from '../simulator/instruction.ts';
import { Diagrams } from './diagram.ts';
import { numberRanges } from './policy-diagram.ts';

/** NR_syscalls of Linux 6.18 is below this on every architecture here. */
const highestNumber = 511;

/** The numbers that `seccomp_cache_prepare` marks for a program, found the way it finds them. */
export function predictBitmap(program: Uint8Array, arch: Arch): ReadonlySet<number> {
  const instructions = decodeProgram(program);
  const numbers = new Set<number>();
  for (let nr = 0; nr <= highestNumber; nr++) if (isConstantAllow(instructions, nr, auditArch[arch])) numbers.add(nr);
  return numbers;
}

/** The numbers that a policy allows whatever the arguments: what the bitmap should be. */
export function unconditionalSet(policy: FilterPolicy): ReadonlySet<number> {
  const diagrams = new Diagrams();
  const numbers = new Set<number>();
  for (const { from, to, decision } of numberRanges(diagrams, policy)) {
    if (!diagrams.isTerminal(decision) || diagrams.valueOf(decision) !== returnValue.allow) continue;
    for (let nr = from; nr <= Math.min(to, highestNumber); nr++) numbers.add(nr);
  }
  return numbers;
}

/** seccomp_is_const_allow: gives up on every instruction that it does not know, and on every load but number and architecture. */
function isConstantAllow(instructions: readonly Instruction[], nr: number, arch: number): boolean {
  let a = 0;
  for (let pc = 0; pc < instructions.length; pc++) {
    const { code, jt, jf, k } = instructions[pc] as Instruction;
    switch (code) {
      case opcode.loadAbsolute:
        if (k === numberOffset) a = nr;
        else if (k === archOffset) a = arch;
        else return false;
        break;
      case opcode.returnConstant:
        return k === returnValue.allow;
      case opcode.jump:
        pc += k;
        break;
      case opcode.jumpEqual:
        pc += a === k ? jt : jf;
        break;
      case opcode.jumpGreaterOrEqual:
        pc += a >= k ? jt : jf;
        break;
      case opcode.jumpGreater:
        pc += a > k ? jt : jf;
        break;
      case opcode.jumpSet:
        pc += (a & k) !== 0 ? jt : jf;
        break;
      case opcode.and:
        a = (a & k) >>> 0;
        break;
      default:
        return false;
    }
  }
  return false;
}
