// SPDX-License-Identifier: Apache-2.0
// Which variable of a diagram is which bit of struct seccomp_data.

import type { SyscallCall } from '../policy/types.ts';
import { callOfWords } from '../simulator/call-data.ts';
import { type Diagram, type Diagrams, terminalLevel } from './diagram.ts';

/** Position of each 4-byte word of seccomp_data (by offset / 4) in the order of variables: arch, nr, arguments high before low, instruction pointer. */
const rankOfWord = [1, 0, 15, 14, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12] as const;

/** The inverse of `rankOfWord`: byte offset by rank. */
const offsetOfRank = rankOfWord.map((_, rank) => rankOfWord.indexOf(rank as (typeof rankOfWord)[number]) * 4);

/** Level of the most significant bit of the word at a byte offset; the other bits follow. */
export function firstLevel(offset: number): number {
  return (rankOfWord[offset >>> 2] as number) * 32;
}

/** Byte offset of the word that a level belongs to. */
export function offsetOfLevel(level: number): number {
  return offsetOfRank[level >>> 5] as number;
}

/** A call on which two functions differ, with both values; undefined when they are equal. Bits that do not matter are 0. */
export function findDifference(
  diagrams: Diagrams,
  first: Diagram,
  second: Diagram,
): { call: SyscallCall; first: number; second: number } | undefined {
  const seen = new Set<string>();
  const words = new Uint32Array(16);
  const setBit = (level: number, bit: boolean): void => {
    const word = offsetOfLevel(level) >>> 2;
    const mask = 2 ** (31 - (level & 31));
    words[word] = bit ? (words[word] as number) | mask : (words[word] as number) & ~mask;
  };
  const visit = (f: Diagram, g: Diagram): { first: number; second: number } | undefined => {
    if (f === g) return undefined;
    if (diagrams.isTerminal(f) && diagrams.isTerminal(g))
      return { first: diagrams.valueOf(f), second: diagrams.valueOf(g) };
    const key = `${f},${g}`;
    if (seen.has(key)) return undefined;
    seen.add(key);
    const level = Math.min(diagrams.level(f), diagrams.level(g), terminalLevel);
    const below = visit(diagrams.low(f, level), diagrams.low(g, level));
    if (below !== undefined) return below;
    setBit(level, true);
    const above = visit(diagrams.high(f, level), diagrams.high(g, level));
    if (above === undefined) setBit(level, false);
    return above;
  };
  const found = visit(first, second);
  return found === undefined ? undefined : { call: callOfWords(words), ...found };
}

/** Value of a function on one call, given as words in the order of the structure. */
export function evaluateOnWords(diagrams: Diagrams, diagram: Diagram, words: ArrayLike<number>): number {
  return diagrams.evaluate(
    diagram,
    (level) => (((words[offsetOfLevel(level) >>> 2] as number) >>> (31 - (level & 31))) & 1) === 1,
  );
}
