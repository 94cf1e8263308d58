// SPDX-License-Identifier: Apache-2.0
// The part of a program that finds what a call's number leads to.
import { x32Bit } from '../simulator/call-data.ts';
import type { Diagram } from '../verifier/diagram.ts';
import type { NumberRange } from '../verifier/policy-diagram.ts';
import { type ArgumentContext, compileArguments } from './argument-search.ts';
import { bitsFirst } from './bits-first.ts';
import type { Decision } from './decision.ts';
import { materialise } from './materialise.ts';
import { hotNumbers, isUncached, runsFor, totalRuns, weightOf } from './number-weights.ts';
import { type SearchItem, searchTree } from './search-tree.ts';
import type { CompileOptions, FilterTarget } from './target.ts';
import { unseenShare } from './weights.ts';

/** The number is in the accumulator. */
export function compileNumbers(context: ArgumentContext, target: FilterTarget, options: CompileOptions): Decision {
  const { diagrams, graph, search } = context;
  const leaves: Decision[] = [];
  const indexOf = new Map<string, number>();
  const leaf = (key: string, make: () => Decision): number => {
    let index = indexOf.get(key);
    if (index === undefined) {
      index = leaves.push(make()) - 1;
      indexOf.set(key, index);
    }
    return index;
  };
  const total = totalRuns(diagrams, target, options);
  const items: SearchItem[] = [];
  const hot = hotNumbers(options.counts, total);
  for (const range of withoutHighNumbers(target).flatMap((whole) => splitAt(whole, hot))) {
    const { from, to, decision } = range;
    if (range.above !== undefined) {
      const { unknown, foreign } = range.above;
      const decide = (): Decision =>
        graph.test('nr', {
          op: 'any-bit',
          constant: x32Bit,
          yes: graph.return(diagrams.valueOf(foreign)),
          no: graph.return(diagrams.valueOf(unknown)),
          yesWeight: 0,
          noWeight: 1,
        });
      items.push({ from, to, target: leaf('high', decide), weight: total * unseenShare.refused });
      continue;
    }
    const hasValues = from === to && options.counts?.values.has(from) === true;
    const key = hasValues ? `${decision}@${from}` : `${decision}`;
    const make = (): Decision =>
      diagrams.isTerminal(decision)
        ? graph.return(diagrams.valueOf(decision))
        : compileArguments(context, decision, from);
    items.push({
      from,
      to,
      target: leaf(diagrams.isTerminal(decision) ? `${decision}` : key, make),
      weight: weightOf(diagrams, range, options, total),
    });
  }
  const place = (index: number): Decision => leaves[index] as Decision;
  const byTree = searchTree(items, search);
  const weightAt = (nr: number): number =>
    options.counts === undefined ? 0 : runsFor(options.counts, nr, isUncached(options, nr));
  const byBits = search.bucketValues === undefined ? bitsFirst(items, weightAt, search) : undefined;
  if (byBits === undefined || byBits.cost >= byTree.cost) return materialise(graph, 'nr', byTree.tree, 0, place);
  return graph.test('nr', {
    op: 'any-bit',
    constant: byBits.mask,
    yes: materialise(graph, 'nr', byBits.rest, 0, place),
    no: place(byBits.target),
    yesWeight: byBits.restWeight,
    noWeight: byBits.weight,
  });
}

/** Often called numbers of a run apart from it, so that each can be tested for first. */
function splitAt(range: TargetRange, hot: readonly number[]): TargetRange[] {
  const pieces: TargetRange[] = [];
  let { from } = range;
  for (const nr of hot) {
    if (nr < from || nr > range.to) continue;
    if (nr > from) pieces.push({ ...range, from, to: nr - 1 });
    pieces.push({ ...range, from: nr, to: nr });
    from = nr + 1;
  }
  if (from <= range.to) pieces.push({ ...range, from });
  return pieces;
}

interface TargetRange extends NumberRange {
  readonly above?: { readonly unknown: Diagram; readonly foreign: Diagram };
}

/** On x86_64 the numbers above the known ones alternate by bit 30: one bit test instead of three comparisons. */
function withoutHighNumbers(target: FilterTarget): TargetRange[] {
  const { ranges } = target;
  const [low, x32, middle, top] = ranges.slice(-4);
  const alternates =
    low !== undefined &&
    x32 !== undefined &&
    middle !== undefined &&
    top !== undefined &&
    x32.from === x32Bit &&
    middle.from === 2 * x32Bit &&
    top.from === 3 * x32Bit &&
    low.to === x32Bit - 1;
  if (!alternates || x32.decision === low.decision || x32.decision !== top.decision || low.decision !== middle.decision)
    return [...ranges];
  return [
    ...ranges.slice(0, -4),
    { from: low.from, to: top.to, decision: low.decision, above: { unknown: low.decision, foreign: x32.decision } },
  ];
}
