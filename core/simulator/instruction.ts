// SPDX-License-Identifier: Apache-2.0
// struct sock_filter: the classic BPF instruction, and the subset of opcodes that seccomp takes (kernel/seccomp.c, seccomp_check_filter).

import { RatchetError } from '../errors.ts';

/** One `struct sock_filter`: opcode, jump offsets when true and false, and the constant. */
export interface Instruction {
  readonly code: number;
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
}

/** Opcodes by name, as <linux/bpf_common.h> composes them. */
export const opcode = {
  loadAbsolute: 0x20,
  loadImmediate: 0x00,
  loadMemory: 0x60,
  loadLength: 0x80,
  loadXImmediate: 0x01,
  loadXMemory: 0x61,
  loadXLength: 0x81,
  store: 0x02,
  storeX: 0x03,
  add: 0x04,
  addX: 0x0c,
  subtract: 0x14,
  subtractX: 0x1c,
  multiply: 0x24,
  multiplyX: 0x2c,
  divide: 0x34,
  divideX: 0x3c,
  or: 0x44,
  orX: 0x4c,
  and: 0x54,
  andX: 0x5c,
  shiftLeft: 0x64,
  shiftLeftX: 0x6c,
  shiftRight: 0x74,
  shiftRightX: 0x7c,
  negate: 0x84,
  xor: 0xa4,
  xorX: 0xac,
  jump: 0x05,
  jumpEqual: 0x15,
  jumpEqualX: 0x1d,
  jumpGreater: 0x25,
  jumpGreaterX: 0x2d,
  jumpGreaterOrEqual: 0x35,
  jumpGreaterOrEqualX: 0x3d,
  jumpSet: 0x45,
  jumpSetX: 0x4d,
  returnConstant: 0x06,
  returnAccumulator: 0x16,
  copyToX: 0x07,
  copyFromX: 0x87,
} as const;

/** sizeof(struct seccomp_data). */
export const seccompDataBytes = 64;

/** BPF_MAXINSNS: what one filter may hold. */
export const maxInstructions = 4096;

/** Words of scratch memory (BPF_MEMWORDS). */
export const scratchWords = 16;

/** Jumps with two offsets: every conditional one. */
export function isConditionalJump(code: number): boolean {
  return (code & 0x07) === 0x05 && code !== opcode.jump;
}

/** Reads consecutive little-endian `struct sock_filter`. Throws ARGUMENT_INVALID when the length is not a multiple of 8. */
export function decodeProgram(program: Uint8Array): Instruction[] {
  if (program.byteLength % 8 !== 0) {
    throw new RatchetError(
      'ARGUMENT_INVALID',
      `a BPF program of ${program.byteLength} bytes is not a whole number of 8-byte instructions`,
      {
        next: 'pass consecutive struct sock_filter, as `compile --format raw` writes them',
      },
    );
  }
  const view = new DataView(program.buffer, program.byteOffset, program.byteLength);
  const instructions: Instruction[] = [];
  for (let at = 0; at < program.byteLength; at += 8) {
    instructions.push({
      code: view.getUint16(at, true),
      jt: view.getUint8(at + 2),
      jf: view.getUint8(at + 3),
      k: view.getUint32(at + 4, true),
    });
  }
  return instructions;
}

/** The bytes of a program, little-endian, as x86_64, aarch64 and riscv64 load them. */
export function encodeProgram(instructions: readonly Instruction[]): Uint8Array {
  const bytes = new Uint8Array(instructions.length * 8);
  const view = new DataView(bytes.buffer);
  instructions.forEach(({ code, jt, jf, k }, index) => {
    view.setUint16(index * 8, code, true);
    view.setUint8(index * 8 + 2, jt);
    view.setUint8(index * 8 + 3, jf);
    view.setUint32(index * 8 + 4, k >>> 0, true);
  });
  return bytes;
}
