// SPDX-License-Identifier: Apache-2.0
// What no program can do with less, on the recorded calls: loads and tests of the architecture (where nobody else looks at it), the load of the
// number, the best of all trees over the numbers, the words of arguments without which the answer is not known, and the return.

import { type CallCounts, expectedMeasure } from '../../../core/compiler/index.ts';
import type { Arch } from '../../../core/policy/types.ts';
import { combineActions, returnValue } from '../../../core/simulator/index.ts';
import { lastKnownNr } from '../../../core/tables/index.ts';
import type { Diagram, Diagrams } from '../../../core/verifier/diagram.ts';
import { withBits } from '../../../core/verifier/fixed-bits.ts';
import { atNumber, ofArch } from '../../../core/verifier/number-ranges.ts';
import { firstLevel, offsetOfLevel } from '../../../core/verifier/words.ts';
import { leastTests, type Sought } from './least-tests.ts';
import { leastInOneWord } from './one-word.ts';

export interface Wanted {
  readonly diagrams: Diagrams;
  readonly arch: Arch;
  /** What is decided in the end. */
  readonly goal: Diagram;
  /** What the filters decide that are installed already; undefined when there are none. */
  readonly installed: Diagram | undefined;
}

/** Instructions for one call, on average over the recorded calls of these numbers. */
export function leastInstructions(wanted: Wanted, counts: CallCounts, uncached: ReadonlySet<number>): number {
  let calls = 0;
  let inArguments = 0;
  const sought: Sought[] = [];
  for (let nr = 0; nr <= lastKnownNr(wanted.arch); nr++) {
    const weight = uncached.has(nr) ? (counts.calls.get(nr) ?? 0) : 0;
    calls += weight;
    if (weight > 0) inArguments += weight * leastInArguments(wanted, counts, nr);
    sought.push({ value: nr, weight, targets: targetsAt(wanted, nr) });
  }
  const fixed = wanted.installed === undefined ? 4 : 2;
  return fixed + (leastTests(sought) + inArguments) / calls;
}

/**
 * A load and a test for each word without which a call's answer is not known. Where one word decides by all of its bits, the best of all
 * trees over its values; bit tests could do better than comparisons elsewhere.
 */
function leastInArguments(wanted: Wanted, counts: CallCounts, nr: number): number {
  const one = { calls: new Map([[nr, 1]]), values: counts.values };
  const byWords = expectedMeasure(
    wanted.arch,
    one,
    () => true,
    (words) => 2 * wordsNeeded(wanted, words),
  );
  return Math.max(byWords, leastInOneWord(wanted.diagrams, at(wanted, nr), counts, nr));
}

/** Answers that would do for a number whatever its arguments; where there is none, its function stands for itself. */
function targetsAt(wanted: Wanted, nr: number): ReadonlySet<number> {
  const here = at(wanted, nr);
  const constants = fittingAnswers(wanted.diagrams, here);
  // Terminals are diagrams too, so the numbers of the two kinds do not meet.
  return new Set(constants.length > 0 ? constants : [here.goal]);
}

export interface Decisions {
  readonly goal: Diagram;
  readonly installed: Diagram;
}

function at({ diagrams, arch, goal, installed }: Wanted, nr: number): Decisions {
  const native = (diagram: Diagram): Diagram => atNumber(diagrams, ofArch(diagrams, diagram, arch), nr);
  return {
    goal: native(goal),
    installed: installed === undefined ? diagrams.terminal(returnValue.allow) : native(installed),
  };
}

/** Constants that give the goal on top of what is installed. */
export function fittingAnswers(diagrams: Diagrams, { goal, installed }: Decisions): Diagram[] {
  return [returnValue.allow, ...diagrams.values(goal)]
    .map((value) => diagrams.terminal(value))
    .filter((answer) => diagrams.combine(combineActions, answer, installed) === goal);
}

/** The least number of words of the arguments that leave one answer to give. */
function wordsNeeded(wanted: Wanted, words: Uint32Array): number {
  const { diagrams } = wanted;
  const here = at(wanted, words[0] as number);
  const offsets = [...new Set([...offsetsOf(diagrams, here.goal), ...offsetsOf(diagrams, here.installed)])];
  for (let size = 0; size < offsets.length; size++)
    for (const chosen of subsets(offsets, size)) {
      const bits = bitsOf(chosen, words);
      const left = {
        goal: withBits(diagrams, here.goal, bits),
        installed: withBits(diagrams, here.installed, bits),
      };
      if (fittingAnswers(diagrams, left).length > 0) return size;
    }
  return offsets.length;
}

/** The words that a function depends on, by their offsets. */
export function offsetsOf(diagrams: Diagrams, diagram: Diagram): Set<number> {
  const offsets = new Set<number>();
  const seen = new Set<Diagram>();
  const visit = (here: Diagram): void => {
    if (diagrams.isTerminal(here) || seen.has(here)) return;
    seen.add(here);
    const level = diagrams.level(here);
    offsets.add(offsetOfLevel(level));
    visit(diagrams.low(here, level));
    visit(diagrams.high(here, level));
  };
  visit(diagram);
  return offsets;
}

function* subsets<Item>(items: readonly Item[], size: number): Iterable<readonly Item[]> {
  if (size === 0) yield [];
  else
    for (const [index, item] of items.entries())
      for (const rest of subsets(items.slice(index + 1), size - 1)) yield [item, ...rest];
}

/** The bits of the chosen words, as a call has them. */
export function bitsOf(offsets: readonly number[], words: Uint32Array): Map<number, boolean> {
  const bits = new Map<number, boolean>();
  for (const offset of offsets)
    for (let bit = 0; bit < 32; bit++)
      bits.set(firstLevel(offset) + bit, (((words[offset >>> 2] as number) >>> (31 - bit)) & 1) === 1);
  return bits;
}
