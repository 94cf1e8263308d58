// SPDX-License-Identifier: Apache-2.0
// How often a filter is expected to run for which numbers.
import { returnValue } from '../simulator/action.ts';
import type { Diagrams } from '../verifier/diagram.ts';
import type { NumberRange } from '../verifier/policy-diagram.ts';
import { heavyShare } from './search-tree.ts';
import type { CompileOptions, FilterTarget } from './target.ts';
import { type CallCounts, cachedShare, unseenShare } from './weights.ts';

export function weightOf(
  diagrams: Diagrams,
  { from, to, decision }: NumberRange,
  options: CompileOptions,
  total: number,
): number {
  const value = diagrams.isTerminal(decision) ? diagrams.valueOf(decision) : undefined;
  const cachedHere = value === returnValue.allow;
  if (options.counts === undefined) {
    if (cachedHere) return from === to && options.uncached?.has(from) ? 1 : unseenShare.permitted;
    return value === undefined ? 1 : unseenShare.refused;
  }
  let weight = 0;
  if (to - from < 4096)
    for (let nr = from; nr <= to; nr++) weight += runsFor(options.counts, nr, !cachedHere || isUncached(options, nr));
  const unseen =
    value === undefined ? unseenShare.decidedByArguments : cachedHere ? unseenShare.permitted : unseenShare.refused;
  return weight + total * unseen;
}

/** How often the filter runs for the recorded calls of a number. */
export function runsFor(counts: CallCounts, nr: number, uncached: boolean): number {
  return (counts.calls.get(nr) ?? 0) * (uncached ? 1 : cachedShare);
}

export function isUncached({ uncached }: CompileOptions, nr: number): boolean {
  return uncached?.has(nr) === true;
}

/** How often the filter runs for all recorded calls. */
export function totalRuns(diagrams: Diagrams, { ranges }: FilterTarget, options: CompileOptions): number {
  const { counts } = options;
  if (counts === undefined) return 1;
  const allowed = diagrams.terminal(returnValue.allow);
  let total = 1;
  for (const nr of counts.calls.keys()) {
    const cachedHere = rangeOf(ranges, nr)?.decision === allowed;
    total += runsFor(counts, nr, !cachedHere || isUncached(options, nr));
  }
  return total;
}

/** The range that a number lies in; they are in order and do not overlap. */
function rangeOf(ranges: readonly NumberRange[], nr: number): NumberRange | undefined {
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((ranges[middle] as NumberRange).to < nr) low = middle + 1;
    else high = middle;
  }
  return ranges[low];
}

export function hotNumbers(counts: CallCounts | undefined, total: number): number[] {
  const calls = [...(counts?.calls ?? [])];
  return calls
    .filter(([, count]) => count >= total * heavyShare)
    .map(([nr]) => nr)
    .sort((a, b) => a - b);
}
