// SPDX-License-Identifier: Apache-2.0
import { decodeProgram, opcode } from '../../core/simulator/index.ts';

/**
 * Instructions of one call without the jumps that only bridge distances: what the decisions themselves cost, whatever their order in memory.
 * For programs of our own compiler, which load, mask, test, jump and return and nothing else.
 */
export function decisionsOf(program: Uint8Array): (words: Uint32Array) => number {
  const instructions = decodeProgram(program);
  return (words) => {
    let accumulator = 0;
    let counted = 0;
    for (let pc = 0; ; pc++) {
      const instruction = instructions[pc];
      if (instruction === undefined) throw new RangeError('the program runs past its end');
      const { code, jt, jf, k } = instruction;
      if (code !== opcode.jump) counted++;
      switch (code) {
        case opcode.returnConstant:
          return counted;
        case opcode.jump:
          pc += k;
          break;
        case opcode.loadAbsolute:
          accumulator = words[k >>> 2] ?? 0;
          break;
        case opcode.and:
          accumulator = (accumulator & k) >>> 0;
          break;
        case opcode.jumpEqual:
          pc += accumulator === k ? jt : jf;
          break;
        case opcode.jumpGreaterOrEqual:
          pc += accumulator >= k ? jt : jf;
          break;
        case opcode.jumpGreater:
          pc += accumulator > k ? jt : jf;
          break;
        case opcode.jumpSet:
          pc += (accumulator & k) !== 0 ? jt : jf;
          break;
        default:
          throw new RangeError(`the compiler makes no instruction 0x${code.toString(16)}`);
      }
    }
  };
}
