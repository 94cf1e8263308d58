// SPDX-License-Identifier: Apache-2.0
// struct seccomp_data as sixteen 32-bit words, by byte offset: nr 0, arch 4, instruction pointer 8, arguments 16..63, low word first.

import type { Arch, SyscallCall } from '../policy/types.ts';

/** AUDIT_ARCH_* of <linux/audit.h>: the ELF machine, 64-bit, little-endian. */
export const auditArch: Readonly<Record<Arch, number>> = {
  x86_64: 0xc000003e,
  aarch64: 0xc00000b7,
  riscv64: 0xc00000f3,
};

/** __X32_SYSCALL_BIT: numbers with it set are calls of the x32 ABI on x86_64. */
export const x32Bit = 0x40000000;

export const numberOffset = 0;
export const archOffset = 4;

/** Byte offset of one half of an argument. */
export function argumentOffset(arg: number, half: 'low' | 'high'): number {
  return 16 + arg * 8 + (half === 'high' ? 4 : 0);
}

/** The words of a call in the order of the structure. */
export function callWords(call: SyscallCall): Uint32Array {
  const words = new Uint32Array(16);
  words[0] = call.nr;
  words[1] = call.auditArch;
  const pointer = call.instructionPointer ?? 0n;
  words[2] = Number(pointer & 0xffffffffn);
  words[3] = Number((pointer >> 32n) & 0xffffffffn);
  call.args.forEach((value, index) => {
    words[4 + index * 2] = Number(value & 0xffffffffn);
    words[5 + index * 2] = Number((value >> 32n) & 0xffffffffn);
  });
  return words;
}

/** The call that has these words. */
export function callOfWords(words: ArrayLike<number>): SyscallCall {
  const wide = (at: number): bigint => (BigInt(words[at + 1] ?? 0) << 32n) | BigInt(words[at] ?? 0);
  return {
    nr: (words[0] ?? 0) >>> 0,
    auditArch: (words[1] ?? 0) >>> 0,
    instructionPointer: wide(2),
    args: [wide(4), wide(6), wide(8), wide(10), wide(12), wide(14)],
  };
}
