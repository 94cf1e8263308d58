// SPDX-License-Identifier: Apache-2.0
// One policy to one program: architecture test, a search tree over the numbers, and below it the argument tests.

import { RatchetError } from '../errors.ts';
import type { FilterPolicy } from '../policy/types.ts';
import { encodeAction, returnValue } from '../simulator/action.ts';
import { archOffset, auditArch, numberOffset } from '../simulator/call-data.ts';
import { encodeProgram, type Instruction, maxInstructions } from '../simulator/instruction.ts';
import { Diagrams } from '../verifier/diagram.ts';
import { numberRanges } from '../verifier/policy-diagram.ts';
import type { ArgumentContext } from './argument-search.ts';
import { type Decision, DecisionGraph } from './decision.ts';
import { expectedInstructions } from './expected-cost.ts';
import { layOut } from './layout.ts';
import { compileNumbers } from './number-search.ts';
import { isUncached } from './number-weights.ts';
import type { SearchOptions } from './search-tree.ts';
import type { CompileOptions, FilterTarget } from './target.ts';

export interface CompiledFilter {
  /** Consecutive struct sock_filter. */
  readonly program: Uint8Array;
  readonly instructions: number;
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
