// SPDX-License-Identifier: Apache-2.0
// How often a word of an argument is expected to have which values, where some of its bits are known already.
import type { Diagram, Diagrams } from '../verifier/diagram.ts';
import { heavyShare, type SearchItem } from './search-tree.ts';
import { isPermitting } from './target-weight.ts';
import type { WordCount } from './weights.ts';
import type { WordFunction, WordInterval } from './word-function.ts';

export class WordWeights {
  private readonly diagrams: Diagrams;
  private readonly counts: readonly WordCount[];

  constructor(diagrams: Diagrams, counts: readonly WordCount[]) {
    this.diagrams = diagrams;
    this.counts = counts;
  }

  /** Intervals with the recorded counts of the values in them, and a little for what was not seen. */
  weighted(given: WordFunction, intervals: readonly WordInterval[], domain: number): SearchItem[] {
    const seen = this.possible(given);
    const total = seen.reduce((sum, { count }) => sum + count, 0);
    const hot = seen.filter(({ count }) => count >= total * heavyShare).map(({ value }) => (value & domain) >>> 0);
    const items = intervals
      .flatMap((interval) => splitAt(interval, hot, domain))
      .map((interval) => ({
        ...interval,
        weight: this.unseenWeight(interval.target, total, intervals.length),
      }));
    for (const { value, count } of seen) {
      const at = (value & domain) >>> 0;
      let low = 0;
      let high = items.length - 1;
      while (low < high) {
        const middle = (low + high) >>> 1;
        if ((items[middle] as SearchItem).to >= at) high = middle;
        else low = middle + 1;
      }
      const item = items[low] as { weight: number };
      item.weight += count;
    }
    return items;
  }

  /** The share of calls whose masked bits satisfy a test; `unknown` when nothing was recorded. */
  shareOf(given: WordFunction, mask: number, test: (bits: number) => boolean, unknown: number): number {
    let hits = 0;
    let all = 0;
    for (const { value, count } of this.possible(given)) {
      all += count;
      if (test((value & mask) >>> 0)) hits += count;
    }
    return all === 0 ? unknown : (hits + unknown) / (all + 1);
  }

  private unseenWeight(target: Diagram, total: number, intervals: number): number {
    const share = isPermitting(this.diagrams, target) ? 1 : 0.02;
    return total === 0 ? share : (share * total * 0.02) / intervals;
  }

  private possible(given: WordFunction): WordCount[] {
    return this.counts.filter(({ value }) => (value & given.knownMask) >>> 0 === given.knownValue);
  }
}

/** An interval with its hot values apart, so that each can be tested for first. Bounds stay values of the domain. */
function splitAt(interval: WordInterval, hot: readonly number[], domain: number): WordInterval[] {
  const inside = [...new Set(hot)]
    .filter((value) => value >= interval.from && value <= interval.to)
    .sort((a, b) => a - b);
  const pieces: WordInterval[] = [];
  let { from } = interval;
  for (const value of inside) {
    if (value > from) pieces.push({ ...interval, from, to: ((value - 1) & domain) >>> 0 });
    pieces.push({ ...interval, from: value, to: value });
    if (value === interval.to) return pieces;
    from = ((((value | ~domain) >>> 0) + 1) & domain) >>> 0;
  }
  return [...pieces, { ...interval, from }];
}
