// SPDX-License-Identifier: Apache-2.0
import type { CallCounts } from '../../../core/compiler/index.ts';
import { wordCounts } from '../../../core/compiler/weights.ts';
import { intervalsOf, supportOf } from '../../../core/compiler/word-function.ts';
import type { Diagrams } from '../../../core/verifier/diagram.ts';
import { withBits } from '../../../core/verifier/fixed-bits.ts';
import { firstLevel } from '../../../core/verifier/words.ts';
import { bitsOf, type Decisions, fittingAnswers, offsetsOf } from './least-instructions.ts';
import { leastTests, type Sought } from './least-tests.ts';

const allBits = 0xffffffff;

/** Past this many intervals the values are not told apart here. */
const mostIntervals = 1000;

/** Values of arguments that are looked at together: fewer than of numbers, because there are many arguments. */
const together = 15;

/** Load and comparisons for the recorded values of the one word that decides; 0 where it is not one, or not all of its bits matter. */
export function leastInOneWord(diagrams: Diagrams, decisions: Decisions, counts: CallCounts, nr: number): number {
  const { goal, installed } = decisions;
  const [offset, ...others] = new Set([...offsetsOf(diagrams, goal), ...offsetsOf(diagrams, installed)]);
  if (offset === undefined || others.length > 0) return 0;
  const word = { firstLevel: firstLevel(offset), knownMask: 0, knownValue: 0 };
  if (supportOf(diagrams, { ...word, diagram: goal }) !== allBits) return 0;
  const seen = wordCounts(counts, nr, (offset - 16) >> 3, offset % 8 === 0 ? 'low' : 'high');
  const calls = seen.reduce((sum, { count }) => sum + count, 0);
  if (calls === 0) return 0;
  const bounds = new Set(seen.flatMap(({ value }) => [value, value + 1]));
  for (const diagram of [goal, installed]) {
    const intervals = intervalsOf(diagrams, { ...word, diagram }, allBits, mostIntervals);
    for (const { from } of intervals ?? []) bounds.add(from);
  }
  const weights = new Map(seen.map(({ value, count }) => [value, count]));
  const sought = [...bounds]
    .filter((value) => value <= allBits)
    .sort((a, b) => a - b)
    .map((value): Sought => {
      const bits = bitsOf([offset], new Uint32Array(16).fill(value, offset >>> 2, (offset >>> 2) + 1));
      const left = { goal: withBits(diagrams, goal, bits), installed: withBits(diagrams, installed, bits) };
      return { value, weight: weights.get(value) ?? 0, targets: new Set(fittingAnswers(diagrams, left)) };
    });
  const tests = leastTests(sought, together);
  return tests === 0 ? 0 : 1 + tests / calls;
}
