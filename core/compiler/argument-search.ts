// SPDX-License-Identifier: Apache-2.0
// Turns a decision over arguments, given as a diagram, into loads, masks and tests: word by word in the diagram's order, each word loaded once.
// What a rule looked like as text does not matter here, only what it decides; sets, ranges, masks and signs come out of the shape of the function.

import { argumentOffset } from '../simulator/call-data.ts';
import type { Diagram, Diagrams } from '../verifier/diagram.ts';
import { firstLevel, offsetOfLevel } from '../verifier/words.ts';
import type { Decision, DecisionGraph } from './decision.ts';
import { materialise } from './materialise.ts';
import { type SearchOptions, searchTree } from './search-tree.ts';
import { type CallCounts, type WordCount, wordCounts } from './weights.ts';
import {
  decidingBits,
  fixBits,
  intervalsOf,
  isDecided,
  nodesOf,
  supportOf,
  type WordFunction,
} from './word-function.ts';
import { WordWeights } from './word-weights.ts';

export interface ArgumentContext {
  readonly diagrams: Diagrams;
  readonly graph: DecisionGraph;
  readonly counts: CallCounts | undefined;
  readonly search: SearchOptions;
}

/** A part of a program and its expected length in instructions, for one call that gets there. */
interface Costed {
  readonly decision: Decision;
  readonly cost: number;
}

/** Intervals that a word may be searched by: as many as its diagram has nodes. A function with more is better cut by its bits. */
const fewIntervals = 24;

/** The part of the program that decides a syscall by its arguments, beginning with a load. */
export function compileArguments(context: ArgumentContext, diagram: Diagram, nr: number): Decision {
  return new ArgumentCompiler(context, nr).from(diagram).decision;
}

class ArgumentCompiler {
  private readonly context: ArgumentContext;
  private readonly nr: number;
  private readonly done = new Map<Diagram, Costed>();

  constructor(context: ArgumentContext, nr: number) {
    this.context = context;
    this.nr = nr;
  }

  from(diagram: Diagram): Costed {
    const known = this.done.get(diagram);
    if (known !== undefined) return known;
    const { diagrams, graph } = this.context;
    let result: Costed;
    if (diagrams.isTerminal(diagram)) result = { decision: graph.return(diagrams.valueOf(diagram)), cost: 1 };
    else {
      const offset = offsetOfLevel(diagrams.level(diagram));
      const word = new WordCompiler(this, this.context, offset, wordCountsAt(this.context.counts, this.nr, offset));
      const inner = word.solve({ diagram, firstLevel: firstLevel(offset), knownMask: 0, knownValue: 0 });
      result = { decision: graph.load(offset, inner.decision), cost: 1 + inner.cost };
    }
    this.done.set(diagram, result);
    return result;
  }
}

/** Everything that one loaded word decides. */
class WordCompiler {
  private readonly owner: ArgumentCompiler;
  private readonly context: ArgumentContext;
  private readonly offset: number;
  private readonly weights: WordWeights;
  private readonly done = new Map<string, Costed>();

  constructor(owner: ArgumentCompiler, context: ArgumentContext, offset: number, counts: readonly WordCount[]) {
    this.owner = owner;
    this.context = context;
    this.offset = offset;
    this.weights = new WordWeights(context.diagrams, counts);
  }

  /** The word is in the accumulator, unmasked. */
  solve(given: WordFunction): Costed {
    if (isDecided(this.context.diagrams, given)) return this.owner.from(given.diagram);
    const key = `${given.diagram},${given.knownMask},${given.knownValue}`;
    let result = this.done.get(key);
    if (result === undefined) {
      result = this.cheapestWay(given);
      this.done.set(key, result);
    }
    return result;
  }

  private cheapestWay(given: WordFunction): Costed {
    const { diagrams } = this.context;
    const support = supportOf(diagrams, given);
    const unknown = ~given.knownMask >>> 0;
    const ways: (Costed | undefined)[] = [this.byIntervals(given, unknown, false)];
    if (support !== unknown) ways.push(this.byIntervals(given, support, true));
    if (ways.every((way) => way === undefined || way.cost > 3.5)) {
      for (const [target, mask] of decidingBits(diagrams, given, support, 1))
        ways.push(this.whereAnyBit(given, mask, target));
      for (const [target, mask] of decidingBits(diagrams, given, support, 0))
        ways.push(this.unlessAllBits(given, mask, target));
    }
    const found = cheapest(ways);
    return found ?? this.byBit(given, highestBit(support));
  }

  private byIntervals(given: WordFunction, domain: number, masked: boolean): Costed | undefined {
    const { diagrams, graph, search } = this.context;
    const intervals = intervalsOf(diagrams, given, domain, Math.max(fewIntervals, nodesOf(diagrams, given)));
    if (intervals === undefined) return undefined;
    const known = masked ? 0 : given.knownValue;
    const zero = intervals[0];
    if (masked && intervals.length === 2 && zero !== undefined && zero.to === 0) {
      const rest = (intervals[1] as { target: Diagram }).target;
      return this.anyBit(given, domain, this.owner.from(rest), this.owner.from(zero.target));
    }
    const items = this.weights.weighted(given, intervals, domain);
    const total = items.reduce((sum, item) => sum + item.weight, 0);
    const result = searchTree(items, search);
    const contents = this.contents(masked ? domain : 0xffffffff);
    const decision = materialise(graph, contents, result.tree, known, (target) => this.owner.from(target).decision);
    const after = items.reduce((sum, item) => sum + item.weight * this.owner.from(item.target).cost, 0);
    const cost = (result.cost + after) / total;
    return masked ? { decision: graph.mask(domain, decision), cost: cost + 1 } : { decision, cost };
  }

  /** One test for all bits that lead to `target` when set. */
  private whereAnyBit(given: WordFunction, mask: number, target: Diagram): Costed {
    const rest = this.solve(fixBits(this.context.diagrams, given, mask, 0));
    return this.anyBit(given, mask, this.owner.from(target), rest);
  }

  private anyBit(given: WordFunction, mask: number, yes: Costed, no: Costed): Costed {
    const weight = this.weights.shareOf(given, mask, (bits) => bits !== 0, 0.05);
    const decision = this.context.graph.test(this.contents(0xffffffff), {
      op: 'any-bit',
      constant: mask,
      yes: yes.decision,
      no: no.decision,
      yesWeight: weight,
      noWeight: 1 - weight,
    });
    return { decision, cost: 1 + weight * yes.cost + (1 - weight) * no.cost };
  }

  /** All bits that lead to `target` when clear: one bit by a bit test, several by masking, after which the word is loaded again. */
  private unlessAllBits(given: WordFunction, mask: number, target: Diagram): Costed {
    const { graph, diagrams } = this.context;
    const fixed = fixBits(diagrams, given, mask, mask);
    const missing = this.owner.from(target);
    const weight = this.weights.shareOf(given, mask, (bits) => bits === mask, 0.95);
    if ((mask & (mask - 1)) === 0) {
      return this.anyBit(given, mask, this.solve(fixed), missing);
    }
    const inner = this.solve(fixed);
    const rest = isDecided(diagrams, fixed)
      ? inner
      : { decision: graph.load(this.offset, inner.decision), cost: inner.cost + 1 };
    const test = graph.test(this.contents(mask), {
      op: 'equal',
      constant: mask,
      yes: rest.decision,
      no: missing.decision,
      yesWeight: weight,
      noWeight: 1 - weight,
    });
    return { decision: graph.mask(mask, test), cost: 2 + weight * rest.cost + (1 - weight) * missing.cost };
  }

  private byBit(given: WordFunction, bit: number): Costed {
    const { diagrams } = this.context;
    return this.anyBit(
      given,
      bit,
      this.solve(fixBits(diagrams, given, bit, bit)),
      this.solve(fixBits(diagrams, given, bit, 0)),
    );
  }

  private contents(mask: number): string {
    return `${this.offset}&${mask}`;
  }
}

function cheapest(ways: readonly (Costed | undefined)[]): Costed | undefined {
  let best: Costed | undefined;
  for (const way of ways) if (way !== undefined && (best === undefined || way.cost < best.cost - 1e-9)) best = way;
  return best;
}

function wordCountsAt(counts: CallCounts | undefined, nr: number, offset: number): WordCount[] {
  const arg = (offset - 16) >> 3;
  return wordCounts(counts, nr, arg, offset === argumentOffset(arg, 'high') ? 'high' : 'low');
}

function highestBit(mask: number): number {
  return (1 << (31 - Math.clz32(mask))) >>> 0;
}
