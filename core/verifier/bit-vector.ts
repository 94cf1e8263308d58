// SPDX-License-Identifier: Apache-2.0
// Values made of diagram bits, least significant first: words of the call, and whatever a program computes from them.

import { always, type Diagram, type Diagrams, never } from './diagram.ts';
import { firstLevel } from './words.ts';

/** Bit i is the function that says whether bit i of the value is set. */
export type BitVector = readonly Diagram[];

/** The 32-bit word at a byte offset of seccomp_data. */
export function wordBits(diagrams: Diagrams, offset: number): BitVector {
  let bits = diagrams.words.get(offset);
  if (bits === undefined) {
    const first = firstLevel(offset);
    bits = Array.from({ length: 32 }, (_, bit) => diagrams.node(first + 31 - bit, never, always));
    diagrams.words.set(offset, bits);
  }
  return bits;
}

export function constantBits(value: bigint, width: number): BitVector {
  const low = Number(value & 0xffff_ffffn);
  const high = width > 32 ? Number((value >> 32n) & 0xffff_ffffn) : 0;
  const bits: Diagram[] = [];
  for (let bit = 0; bit < width; bit++) bits.push(((bit < 32 ? low : high) >>> (bit & 31)) & 1 ? always : never);
  return bits;
}

export function equal(diagrams: Diagrams, left: BitVector, right: BitVector): Diagram {
  let result = always;
  for (let bit = 0; bit < left.length; bit++) {
    const same = sameBit(diagrams, left[bit] as Diagram, right[bit] as Diagram);
    result = diagrams.and(same, result);
  }
  return result;
}

/** Unsigned `left >= right`, or `left > right` when `strict`. */
export function atLeast(diagrams: Diagrams, left: BitVector, right: BitVector, strict: boolean): Diagram {
  let result: Diagram = strict ? never : always;
  for (let bit = 0; bit < left.length; bit++) {
    const l = left[bit] as Diagram;
    const r = right[bit] as Diagram;
    // Where the bits differ this one decides; otherwise the lower ones.
    if (r === never) result = diagrams.choose(l, always, result);
    else if (r === always) result = diagrams.choose(l, result, never);
    else result = diagrams.choose(l, diagrams.choose(r, result, always), diagrams.choose(r, never, result));
  }
  return result;
}

/** Whether the two have a bit in common. */
export function intersects(diagrams: Diagrams, left: BitVector, right: BitVector): Diagram {
  let result = never;
  for (let bit = 0; bit < left.length; bit++) {
    result = diagrams.or(diagrams.and(left[bit] as Diagram, right[bit] as Diagram), result);
  }
  return result;
}

export function bitwise(
  diagrams: Diagrams,
  operation: 'and' | 'or' | 'xor',
  left: BitVector,
  right: BitVector,
): BitVector {
  return left.map((bit, index) => diagrams[operation](bit, right[index] as Diagram));
}

/** `left + right`, or `left - right`, modulo 2^width. */
export function sum(diagrams: Diagrams, left: BitVector, right: BitVector, subtract: boolean): BitVector {
  let carry: Diagram = subtract ? always : never;
  return left.map((l, index) => {
    const given = right[index] as Diagram;
    const r = subtract ? diagrams.not(given) : given;
    const half = diagrams.xor(l, r);
    const result = diagrams.xor(half, carry);
    carry = diagrams.or(diagrams.and(l, r), diagrams.and(half, carry));
    return result;
  });
}

export function product(diagrams: Diagrams, left: BitVector, right: BitVector): BitVector {
  let result = constantBits(0n, left.length);
  right.forEach((bit, index) => {
    if (bit === never) return;
    const addend = shifted(left, index).map((l) => diagrams.and(l, bit));
    result = sum(diagrams, result, addend, false);
  });
  return result;
}

/** Unsigned quotient by schoolbook division; where the divisor is 0 the result means nothing. */
export function quotient(diagrams: Diagrams, left: BitVector, right: BitVector): BitVector {
  const width = left.length;
  const result: Diagram[] = new Array<Diagram>(width).fill(never);
  const divisor = [...right, never];
  let remainder: BitVector = constantBits(0n, width + 1);
  for (let bit = width - 1; bit >= 0; bit--) {
    remainder = [left[bit] as Diagram, ...remainder.slice(0, width)];
    const fits = atLeast(diagrams, remainder, divisor, false);
    const reduced = sum(diagrams, remainder, divisor, true);
    remainder = remainder.map((kept, index) => diagrams.choose(fits, reduced[index] as Diagram, kept));
    result[bit] = fits;
  }
  return result;
}

/** Shifted by a constant: left when positive, right when negative. */
export function shifted(bits: BitVector, by: number): BitVector {
  return bits.map((_, index) => bits[index - by] ?? never);
}

/** Shifted by the low five bits of another vector, as the kernel's 32-bit shifts do. */
export function shiftedBy(diagrams: Diagrams, bits: BitVector, amount: BitVector, direction: 1 | -1): BitVector {
  let result = bits;
  for (let step = 0; step < 5; step++) {
    const moved = shifted(result, direction * 2 ** step);
    const by = amount[step] as Diagram;
    result = result.map((kept, index) => diagrams.choose(by, moved[index] as Diagram, kept));
  }
  return result;
}

function sameBit(diagrams: Diagrams, left: Diagram, right: Diagram): Diagram {
  if (right === always) return left;
  return right === never ? diagrams.not(left) : diagrams.not(diagrams.xor(left, right));
}
