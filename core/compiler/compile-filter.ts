// SPDX-License-Identifier: Apache-2.0
// One policy to one program: architecture test, a search tree over the numbers, and below it the argument tests.

import { RatchetError } from '../errors.ts';
import type { Arch, FilterPolicy } from '../policy/types.ts';
import { encodeAction, returnValue } from '../simulator/action.ts';
import { archOffset, auditArch, numberOffset, x32Bit } from '../simulator/call-data.ts';
import { encodeProgram, type Instruction, maxInstructions } from '../simulator/instruction.ts';
import { type Diagram, Diagrams } from '../verifier/diagram.ts';
import { type NumberRange, numberRanges } from '../verifier/policy-diagram.ts';
import { type ArgumentContext, compileArguments, materialise } from './argument-search.ts';
import { bitsFirst } from './bits-first.ts';
import { type Decision, DecisionGraph } from './decision.ts';
import { expectedInstructions } from './expected-cost.ts';
import { layOut } from './layout.ts';
import { heavyShare, type SearchItem, type SearchOptions, searchTree } from './search-tree.ts';
import { type CallCounts, cachedShare, unseenShare } from './weights.ts';

export interface CompileOptions {
  /** Recorded calls; without them every number that the arguments decide counts the same. */
  readonly counts?: CallCounts;
  /** For compileProfile(): those of the threads of a role, by role. */
  readonly roleCounts?: Readonly<Record<string, CallCounts>>;
  /** Numbers that another filter of the chain keeps out of the kernel's bitmap: this filter runs for them too. */
  readonly uncached?: ReadonlySet<number>;
  /** Longest run of intervals that is solved exactly (default 64). Time grows with its third power. */
  readonly exactItems?: number;
  /** Most values taken out of one run of intervals one after the other (default 6). */
  readonly maxPeeled?: number;
}

export interface CompiledFilter {
  /** Consecutive struct sock_filter. */
  readonly program: Uint8Array;
  readonly instructions: number;
}

/** What is to be compiled, after the policy's text is gone: a function on each number and what foreign ABIs get. */
export interface FilterTarget {
  readonly arch: Arch;
  readonly ranges: readonly NumberRange[];
  /** Undefined: an earlier filter refuses foreign architectures, so they are not tested for. */
  readonly foreign: number | undefined;
}

/** Of a conditional jump. Programs up to this long have all parts in reach. */
const longestJump = 255;

/** Of the layouts that are tried: shares of the calls below which a part moves to the end. */
const outlineShares = [0.01, 0.05];

/** The program of a policy. Throws FILTER_TOO_LARGE when no shape of it fits the kernel's 4096 instructions. */
export function compileFilter(policy: FilterPolicy, options: CompileOptions = {}): CompiledFilter {
  const diagrams = new Diagrams();
  const ranges = numberRanges(diagrams, policy);
  return compileTarget(diagrams, { arch: policy.arch, ranges, foreign: encodeAction(policy.foreign) }, options);
}

/** The same for a target whose diagrams the caller owns. */
export function compileTarget(diagrams: Diagrams, target: FilterTarget, options: CompileOptions): CompiledFilter {
  let smallest = Number.POSITIVE_INFINITY;
  for (const bucketValues of [undefined, 8, 32, 128, 1024, maxInstructions]) {
    const search = { exactItems: options.exactItems ?? 64, maxPeeled: options.maxPeeled ?? 6, bucketValues };
    const instructions = attempt(diagrams, target, options, search);
    if (instructions.length <= maxInstructions)
      return { program: encodeProgram(instructions), instructions: instructions.length };
    smallest = Math.min(smallest, instructions.length);
  }
  throw new RatchetError(
    'FILTER_TOO_LARGE',
    `the policy needs ${smallest} instructions, and the kernel takes ${maxInstructions}`,
    {
      next: 'replace long sets of values by ranges or masks',
    },
  );
}

function attempt(
  diagrams: Diagrams,
  target: FilterTarget,
  options: CompileOptions,
  search: SearchOptions,
): Instruction[] {
  const graph = new DecisionGraph();
  const context: ArgumentContext = { diagrams, graph, counts: options.counts, search };
  const numbers = compileNumbers(context, target, options);
  const native = graph.load(numberOffset, numbers);
  if (target.foreign === undefined) return fastestLayout(native, diagrams, target, options, search);
  const test = graph.test('arch', {
    op: 'equal',
    constant: auditArch[target.arch],
    yes: native,
    no: graph.return(target.foreign),
    yesWeight: 1,
    noWeight: 0,
  });
  return fastestLayout(graph.load(archOffset, test), diagrams, target, options, search);
}

/** Which order of the parts is fastest depends on what jumps out of reach: with recorded calls several are tried. */
function fastestLayout(
  root: Decision,
  diagrams: Diagrams,
  target: FilterTarget,
  options: CompileOptions,
  search: SearchOptions,
): Instruction[] {
  const { counts } = options;
  const compact = search.bucketValues !== undefined;
  const plain = layOut(root, { compact, outlineShare: 0 });
  if (counts === undefined || compact || plain.length <= longestJump) return plain;
  const allowed = diagrams.terminal(returnValue.allow);
  const runs = (nr: number): boolean =>
    isUncached(options, nr) ||
    target.ranges.some(({ from, to, decision }) => from <= nr && nr <= to && decision !== allowed);
  const cost = (instructions: readonly Instruction[]): number =>
    expectedInstructions(encodeProgram(instructions), target.arch, counts, runs);
  const layouts = outlineShares.map((outlineShare) => layOut(root, { compact, outlineShare }));
  return cheapest([plain, ...layouts], cost);
}

function cheapest<Item>(items: readonly [Item, ...Item[]], cost: (item: Item) => number): Item {
  let [best] = items;
  let least = cost(best);
  for (const item of items.slice(1)) {
    const price = cost(item);
    if (price >= least) continue;
    least = price;
    best = item;
  }
  return best;
}

function compileNumbers(context: ArgumentContext, target: FilterTarget, options: CompileOptions): Decision {
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

function weightOf(
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
function runsFor(counts: CallCounts, nr: number, uncached: boolean): number {
  return (counts.calls.get(nr) ?? 0) * (uncached ? 1 : cachedShare);
}

function isUncached({ uncached }: CompileOptions, nr: number): boolean {
  return uncached?.has(nr) === true;
}

/** How often the filter runs for all recorded calls. */
function totalRuns(diagrams: Diagrams, { ranges }: FilterTarget, options: CompileOptions): number {
  const { counts } = options;
  if (counts === undefined) return 1;
  const allowed = diagrams.terminal(returnValue.allow);
  let total = 1;
  for (const nr of counts.calls.keys()) {
    const cachedHere = ranges.some(({ from, to, decision }) => from <= nr && nr <= to && decision === allowed);
    total += runsFor(counts, nr, !cachedHere || isUncached(options, nr));
  }
  return total;
}

function hotNumbers(counts: CallCounts | undefined, total: number): number[] {
  const calls = [...(counts?.calls ?? [])];
  return calls
    .filter(([, count]) => count >= total * heavyShare)
    .map(([nr]) => nr)
    .sort((a, b) => a - b);
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
