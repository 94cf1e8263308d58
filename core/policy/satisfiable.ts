// SPDX-License-Identifier: Apache-2.0
// Can some call meet this condition? Exact, up to a size that no hand-written rule reaches.
//
// The condition becomes a disjunction of conjunctions of atoms `((argument ^ flip) & mask) op value` on whole 64-bit registers (the widths are
// masks, and demands on the high half are atoms of their own). Arguments do not depend on each other, so a conjunction can be met if each of its
// arguments can be. One argument is solved by trying candidates where a set or the ends of intervals give them, and otherwise bit by bit from
// the top, keeping for each atom whether the prefix is below, equal to or above the atom's value.

import { allOnes, signBit } from './expression/words.ts';
import type { CompareOp, Condition, Width } from './types.ts';

const full = allOnes('full64');
const maxConjunctions = 20_000;
const maxStates = 50_000;

interface Atom {
  readonly arg: number;
  readonly flip: bigint;
  readonly mask: bigint;
  readonly op: CompareOp;
  readonly value: bigint;
}

/** A set test, kept whole: one atom a value would make thousands of conjunctions of a long list. */
interface SetAtom {
  readonly arg: number;
  readonly mask: bigint;
  readonly values: ReadonlySet<bigint>;
  readonly inside: boolean;
}

type Term = Atom | SetAtom;

/** `unknown`: too large to decide. */
export type Satisfiable = 'yes' | 'no' | 'unknown';

export function satisfiable(condition: Condition): Satisfiable {
  const conjunctions = disjunction(condition, false);
  if (conjunctions === undefined) return 'unknown';
  let answer: Satisfiable = 'no';
  for (const conjunction of conjunctions) {
    const one = satisfiableConjunction(conjunction);
    if (one === 'yes') return 'yes';
    if (one === 'unknown') answer = 'unknown';
  }
  return answer;
}

/** Whether one call can meet both. */
export function canBothHold(a: Condition, b: Condition): Satisfiable {
  return satisfiable({ kind: 'and', terms: [a, b] });
}

/** Disjunctive normal form, with negations pushed down to the atoms; undefined when it grows too large. */
function disjunction(condition: Condition, negated: boolean): readonly (readonly Term[])[] | undefined {
  switch (condition.kind) {
    case 'always':
      return negated ? [] : [[]];
    case 'never':
      return negated ? [[]] : [];
    case 'not':
      return disjunction(condition.term, !negated);
    case 'and':
    case 'or': {
      const all = (condition.kind === 'and') !== negated;
      let result: readonly (readonly Term[])[] = all ? [[]] : [];
      for (const term of condition.terms) {
        const part = disjunction(term, negated);
        if (part === undefined) return undefined;
        result = all ? result.flatMap((left) => part.map((right) => [...left, ...right])) : [...result, ...part];
        if (result.length > maxConjunctions) return undefined;
      }
      return result;
    }
    case 'in': {
      const { arg, width } = condition;
      const term: SetAtom = { arg, mask: allOnes(width), values: new Set(condition.values), inside: !negated };
      return withHighHalf(arg, width, term, negated);
    }
    case 'compare': {
      const { arg, width, signed } = condition;
      const flip = signed ? signBit(width) : 0n;
      const mask = condition.mask & allOnes(width);
      const op = negated ? opposites[condition.op] : condition.op;
      return withHighHalf(arg, width, { arg, flip, mask, op, value: condition.value ^ flip }, negated);
    }
  }
}

const opposites: Readonly<Record<CompareOp, CompareOp>> = {
  '==': '!=',
  '!=': '==',
  '<': '>=',
  '>=': '<',
  '>': '<=',
  '<=': '>',
};

/** Adds what `zero32` and `sign32` demand of the high half; a negated test also holds where that demand is not met. */
function withHighHalf(arg: number, width: Width, term: Term, negated: boolean): readonly (readonly Term[])[] {
  const high = (mask: bigint, op: '==' | '!=', value: bigint): Atom => ({ arg, flip: 0n, mask, op, value });
  if (width === 'zero32') {
    const mask = full ^ allOnes('low32');
    return negated ? [[term], [high(mask, '!=', 0n)]] : [[term, high(mask, '==', 0n)]];
  }
  if (width === 'sign32') {
    const mask = full ^ (allOnes('low32') >> 1n);
    if (negated) return [[term], [high(mask, '!=', 0n), high(mask, '!=', mask)]];
    return [
      [term, high(mask, '==', 0n)],
      [term, high(mask, '==', mask)],
    ];
  }
  return [[term]];
}

function satisfiableConjunction(terms: readonly Term[]): Satisfiable {
  let answer: Satisfiable = 'yes';
  for (const arg of new Set(terms.map((term) => term.arg))) {
    const one = satisfiableArgument(terms.filter((term) => term.arg === arg));
    if (one === 'no') return 'no';
    if (one === 'unknown') answer = 'unknown';
  }
  return answer;
}

function satisfiableArgument(terms: readonly Term[]): Satisfiable {
  const shared = finiteCandidates(terms);
  if (shared !== undefined) return shared.some((value) => terms.every((term) => holds(term, value))) ? 'yes' : 'no';
  const ends = intervalEnds(terms);
  if (ends !== undefined) return ends.some((value) => terms.every((term) => holds(term, value))) ? 'yes' : 'no';
  return solveBits(terms.flatMap(atomsOf));
}

/** The members of a positive full-width set or equality: no other value can do. */
function finiteCandidates(terms: readonly Term[]): readonly bigint[] | undefined {
  for (const term of terms) {
    if (term.mask !== full) continue;
    if ('values' in term) {
      if (term.inside) return [...term.values];
    } else if (term.op === '==') return [term.value ^ term.flip];
  }
  return undefined;
}

/** When all terms look at the same bits, a run of low or high bits, the solutions are intervals: their ends, and the ends' neighbours, suffice. */
function intervalEnds(terms: readonly Term[]): readonly bigint[] | undefined {
  const mask = terms[0]?.mask ?? full;
  const isRun = (mask & (mask + 1n)) === 0n;
  const flip = terms.map((term) => ('values' in term ? 0n : term.flip)).find((bits) => bits !== 0n) ?? 0n;
  const uniform = terms.every((term) => term.mask === mask && ('values' in term ? flip === 0n : term.flip === flip));
  if (!isRun || !uniform) return undefined;
  const ends = [0n, mask];
  for (const term of terms) {
    for (const value of 'values' in term ? term.values : [term.value]) ends.push(value - 1n, value, value + 1n);
  }
  return ends.filter((value) => value >= 0n && value <= mask).map((value) => value ^ flip);
}

function holds(term: Term, register: bigint): boolean {
  if ('values' in term) return term.values.has(register & term.mask) === term.inside;
  return compares(term.op, (register ^ term.flip) & term.mask, term.value);
}

function compares(op: CompareOp, left: bigint, right: bigint): boolean {
  if (left === right) return op === '==' || op === '<=' || op === '>=';
  return op === '!=' || (left < right ? op === '<' || op === '<=' : op === '>' || op === '>=');
}

/** For the bit-by-bit search: an excluded set is one `!=` a value, an included one is the pair of its common bits and its members. */
function atomsOf(term: Term): readonly (Atom | readonly Atom[])[] {
  if (!('values' in term)) return [term];
  const { arg, mask } = term;
  const atoms = [...term.values].map((value): Atom => ({ arg, flip: 0n, mask, op: term.inside ? '==' : '!=', value }));
  return term.inside ? [atoms] : atoms;
}

/** A group of atoms is met when one of them is. */
function solveBits(clauses: readonly (Atom | readonly Atom[])[]): Satisfiable {
  const groups = clauses.map((clause): readonly Atom[] => (Array.isArray(clause) ? clause : [clause as Atom]));
  const atoms = groups.flat();
  // One character an atom: '=' while its prefix equals the value's, then '<' or '>' for good.
  let states = new Set(['='.repeat(atoms.length)]);
  for (let bit = 63n; bit >= 0n; bit--) {
    const next = new Set<string>();
    for (const state of states) {
      for (const choice of [0n, 1n]) next.add(advance(state, atoms, bit, choice));
      if (next.size > maxStates) return 'unknown';
    }
    states = next;
  }
  for (const state of states) {
    let index = 0;
    const met = groups.every((group) => {
      const signs = state.slice(index, index + group.length);
      index += group.length;
      return group.some((atom, position) => signMeets(atom.op, signs[position] ?? '='));
    });
    if (met) return 'yes';
  }
  return 'no';
}

function advance(state: string, atoms: readonly Atom[], bit: bigint, choice: bigint): string {
  let next = '';
  for (const [index, atom] of atoms.entries()) {
    const sign = state[index] ?? '=';
    const wanted = (atom.value >> bit) & 1n;
    const found = ((atom.mask >> bit) & 1n) === 0n ? 0n : choice ^ ((atom.flip >> bit) & 1n);
    next += sign !== '=' || found === wanted ? sign : found < wanted ? '<' : '>';
  }
  return next;
}

function signMeets(op: CompareOp, sign: string): boolean {
  if (sign === '=') return op === '==' || op === '<=' || op === '>=';
  return op === '!=' || (sign === '<' ? op === '<' || op === '<=' : op === '>' || op === '>=');
}
