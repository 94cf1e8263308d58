// SPDX-License-Identifier: Apache-2.0
// What a recorded profile says about a program's future callers.

/** How often each syscall was called, and with which argument values. */
export interface CallCounts {
  /** By syscall number. */
  readonly calls: ReadonlyMap<number, number>;
  /** By syscall number, then argument (0..5), then the 64-bit value. */
  readonly values: ReadonlyMap<number, ReadonlyMap<number, ReadonlyMap<bigint, number>>>;
}

/** A value of one 32-bit word and how often it was seen. */
export interface WordCount {
  readonly value: number;
  readonly count: number;
}

/**
 * Share of a call that the kernel's bitmap answers: not nothing, because kernels before 5.11 have none and every number is run at attach. These calls are
 * a hundred times as many as the others, and must not weigh as much together.
 */
export const cachedShare = 1e-4;

/** Weight of a number that was never seen, as a share of all calls, by what happens to it. */
export const unseenShare = { decidedByArguments: 0.0005, permitted: 1e-5, refused: 1e-5 } as const;

/** The counts of one half of one argument, or none. */
export function wordCounts(counts: CallCounts | undefined, nr: number, arg: number, half: 'low' | 'high'): WordCount[] {
  const values = counts?.values.get(nr)?.get(arg);
  if (values === undefined) return [];
  const byWord = new Map<number, number>();
  for (const [value, count] of values) {
    const word = Number((half === 'low' ? value : value >> 32n) & 0xffffffffn);
    byWord.set(word, (byWord.get(word) ?? 0) + count);
  }
  return [...byWord].map(([value, count]) => ({ value, count }));
}
