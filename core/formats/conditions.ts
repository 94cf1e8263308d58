// SPDX-License-Identifier: Apache-2.0
// From a diagram over the arguments of one call back to a condition of the profile language that means the same.

import { allOnes } from '../policy/expression/words.ts';
import type { Condition, Width } from '../policy/types.ts';
import { always, type Diagram, type Diagrams, never } from '../verifier/diagram.ts';
import {
  branchesOn,
  type Cube,
  cubesOf,
  firstArgument,
  firstLevelOf,
  type Interval,
  intervalsOf,
  partition,
} from './argument-values.ts';

/** More values than this in one condition are not listed. */
const mostPieces = 6000;

/** Conditions of more tests than this are not made: nobody would read them, and a loader would take long to compare them. */
const mostTests = 48;

/** Where a function of the arguments is `value`; undefined when it looks at the instruction pointer, or takes too much to say. */
export function conditionFor(diagrams: Diagrams, decision: Diagram, value: number): Condition | undefined {
  const holds = diagrams.map((found) => (found === value ? 1 : 0), decision);
  return conditionOf(diagrams, holds, new Map());
}

/** Runs of fewer values than this are written as values: they are as likely neighbours by chance. */
const shortRun = 8n;

/** How much there is to read in a condition. Values of a list read easily, bits under a mask do not. */
export function sizeOf(condition: Condition): number {
  switch (condition.kind) {
    case 'compare':
      return condition.mask === allOnes(condition.width) ? 2 : 4;
    case 'in':
      return 1 + condition.values.length;
    case 'and':
    case 'or':
      return condition.terms.reduce((sum, term) => sum + sizeOf(term), 0);
    case 'not':
      return 1 + sizeOf(condition.term);
    default:
      return 1;
  }
}

type Known = Map<Diagram, { readonly condition: Condition | undefined }>;

function conditionOf(diagrams: Diagrams, decision: Diagram, known: Known): Condition | undefined {
  if (decision === always) return { kind: 'always' };
  if (decision === never) return { kind: 'never' };
  const before = known.get(decision);
  if (before !== undefined) return before.condition;
  const condition = conditionOnArguments(diagrams, decision, known);
  const kept = condition !== undefined && testsOf(condition) <= mostTests ? condition : undefined;
  known.set(decision, { condition: kept });
  return kept;
}

function conditionOnArguments(diagrams: Diagrams, decision: Diagram, known: Known): Condition | undefined {
  const arg = firstArgument(diagrams, decision);
  if (arg === undefined || arg > 5) return undefined;
  const terms: Condition[] = [];
  for (const { values, rest } of branchesOn(diagrams, decision, arg)) {
    if (rest === never) continue;
    const below = conditionOf(diagrams, rest, known);
    const here = below && valuesCondition(diagrams, values, arg);
    if (here === undefined || below === undefined || terms.length > mostTests) return undefined;
    terms.push(joined('and', [here, below]));
  }
  return joined('or', terms);
}

function testsOf(condition: Condition): number {
  if (condition.kind === 'and' || condition.kind === 'or')
    return condition.terms.reduce((sum, term) => sum + testsOf(term), 0);
  return condition.kind === 'not' ? testsOf(condition.term) : 1;
}

/** A set of values of one argument, in the narrowest width that says it, and in the fewest words. */
function valuesCondition(diagrams: Diagrams, values: Diagram, arg: number): Condition | undefined {
  const candidates: Condition[] = [];
  for (const [set, negated] of [
    [values, false],
    [diagrams.not(values), true],
  ] as const) {
    const { width, low } = widthOf(diagrams, set, arg);
    const bits = width === 'full64' ? 64 : 32;
    const options = { first: firstLevelOf(arg) + 64 - bits, bits, most: mostPieces };
    const operand = { arg, width };
    const runs = intervalsOf(diagrams, low, options);
    const cubes = cubesOf(diagrams, low, options);
    const ways = [runs && runsCondition(runs, operand), cubes && cubesCondition(cubes, operand)];
    for (const way of ways) if (way !== undefined) candidates.push(negated ? negation(way) : way);
  }
  return candidates.sort((a, b) => sizeOf(a) - sizeOf(b))[0];
}

/** The set as one of the low word, where the high word is all the same to it, must be 0, or must be the sign's extension. */
function widthOf(diagrams: Diagrams, set: Diagram, arg: number): { readonly width: Width; readonly low: Diagram } {
  const first = firstLevelOf(arg);
  if (set === never || diagrams.level(set) >= first + 32) return { width: 'low32', low: set };
  const branches = partition(diagrams, set, first + 32).filter(({ rest }) => rest !== never);
  const words = branches.map(({ values, rest }) => ({
    rest,
    words: intervalsOf(diagrams, values, { first, bits: 32, most: 1 }) ?? [],
  }));
  const at = (word: bigint): Diagram =>
    words.find((one) => one.words[0]?.low === word && one.words[0].high === word)?.rest ?? never;
  const zero = at(0n);
  const ones = at(0xffff_ffffn);
  if (zero !== never && words.length === 1) return { width: 'zero32', low: zero };
  const sign = diagrams.node(first + 32, never, always);
  const isExtended =
    words.length === Number(zero !== never) + Number(ones !== never) &&
    ones !== never &&
    diagrams.and(zero, sign) === never &&
    diagrams.and(ones, sign) === ones;
  return isExtended ? { width: 'sign32', low: diagrams.or(zero, ones) } : { width: 'full64', low: set };
}

interface Operand {
  readonly arg: number;
  readonly width: Width;
}

function runsCondition(runs: readonly Interval[], operand: Operand): Condition {
  const ones = allOnes(operand.width);
  const isShort = ({ low, high }: Interval): boolean => high - low < shortRun;
  const singles = runs
    .filter(isShort)
    .flatMap(({ low, high }) => Array.from({ length: Number(high - low) + 1 }, (_, index) => low + BigInt(index)));
  const terms = runs.flatMap(({ low, high }): readonly Condition[] => {
    if (isShort({ low, high })) return [];
    const from: readonly Condition[] = low === 0n ? [] : [compare(operand, '>=', low)];
    const to: readonly Condition[] = high === ones ? [] : [compare(operand, '<=', high)];
    // A width that demands something of the high word is not the same as no test at all.
    if (from.length + to.length === 0) return [compare(operand, '>=', 0n)];
    return [joined('and', [...from, ...to])];
  });
  const [only] = singles;
  if (singles.length === 1 && only !== undefined) terms.unshift(compare(operand, '==', only));
  else if (singles.length > 1) terms.unshift({ kind: 'in', ...operand, values: singles });
  return joined('or', terms);
}

function cubesCondition(cubes: readonly Cube[], operand: Operand): Condition {
  return joined(
    'or',
    cubes.map(({ mask, bits }) => ({ kind: 'compare', ...operand, mask, op: '==', value: bits, signed: false })),
  );
}

function compare(operand: Operand, op: '==' | '>=' | '<=', value: bigint): Condition {
  return { kind: 'compare', ...operand, mask: allOnes(operand.width), op, value, signed: false };
}

function negation(term: Condition): Condition {
  // Not for widths that demand something of the high word: there neither == nor != holds without it.
  const plain = term.kind === 'compare' && (term.width === 'low32' || term.width === 'full64');
  return plain && term.op === '==' ? { ...term, op: '!=' } : { kind: 'not', term };
}

function joined(kind: 'and' | 'or', terms: readonly Condition[]): Condition {
  const neutral = kind === 'and' ? 'always' : 'never';
  const flat = terms
    .flatMap((term) => (term.kind === kind ? term.terms : [term]))
    .filter((term) => term.kind !== neutral);
  const [only] = flat;
  if (only === undefined) return { kind: neutral };
  return flat.length === 1 ? only : { kind, terms: flat };
}
