// SPDX-License-Identifier: Apache-2.0
import type { Width } from '../types.ts';

/** What a test looks at: an argument, read in some width, under a mask. */
export interface Operand {
  readonly arg: number;
  readonly width: Width;
  readonly mask: bigint;
  readonly signed: boolean;
}

/** The mask that keeps every bit of this width. */
export function allOnes(width: Width): bigint {
  return width === 'full64' ? 0xffff_ffff_ffff_ffffn : 0xffff_ffffn;
}

/** The bit that is the sign in this width. */
export function signBit(width: Width): bigint {
  return width === 'full64' ? 1n << 63n : 1n << 31n;
}

/** A value as an unsigned bit pattern of the width, negative ones in two's complement; undefined when it does not fit. */
export function bitsOf(width: Width, value: bigint): bigint | undefined {
  if (value > allOnes(width) || value < -signBit(width)) return undefined;
  return BigInt.asUintN(width === 'full64' ? 64 : 32, value);
}
