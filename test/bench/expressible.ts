// SPDX-License-Identifier: Apache-2.0
// The part of a policy that libseccomp can say exactly: rules that are disjunctions of conjunctions of (argument & mask) == value, and one
// answer for all that no rule names. What is left out is left out for both compilers.

import type { Condition, FilterPolicy, SyscallRules } from '../../core/policy/types.ts';
import { encodeAction } from '../../core/simulator/index.ts';

export interface MaskedValue {
  readonly mask: bigint;
  readonly value: bigint;
}

/** What each argument must be; all of it holds. */
export type Conjunction = ReadonlyMap<number, MaskedValue>;

export interface PeerRule {
  readonly action: number;
  readonly nr: number;
  readonly when: Conjunction;
}

export interface Expressible {
  /** Ours and theirs decide as this does. */
  readonly policy: FilterPolicy;
  readonly rules: readonly PeerRule[];
  /** Names of the calls of which something was left out. */
  readonly leftOut: readonly string[];
}

export function expressiblePart(policy: FilterPolicy): Expressible {
  const rules: PeerRule[] = [];
  const leftOut = new Set<string>();
  const fallback = encodeAction(policy.otherwise);
  const syscalls = policy.syscalls.map((syscall): SyscallRules => {
    const conditional = syscall.rules.filter(({ when }) => when.kind !== 'always');
    const unconditional = syscall.rules.find(({ when }) => when.kind === 'always')?.action ?? syscall.otherwise;
    if (conditional.length === 0) {
      const action = encodeAction(unconditional);
      if (action !== fallback) rules.push({ action, nr: syscall.nr, when: new Map() });
      return { ...syscall, rules: [], otherwise: unconditional };
    }
    // An answer without conditions would take the place of the rules with conditions.
    if (encodeAction(unconditional) !== fallback) leftOut.add(syscall.name);
    const kept = conditional.filter(({ when, action }) => {
      const ways = encodeAction(action) === fallback ? [] : conjunctions(when, false);
      if (ways === undefined) leftOut.add(syscall.name);
      for (const way of ways ?? []) rules.push({ action: encodeAction(action), nr: syscall.nr, when: way });
      return ways !== undefined;
    });
    return { ...syscall, rules: kept, otherwise: policy.otherwise };
  });
  const simple = { ...policy, syscalls, unknown: policy.otherwise, foreign: { kind: 'kill-process' } as const };
  return { policy: simple, rules, leftOut: [...leftOut] };
}

/** Undefined where comparisons of another kind would be needed. */
function conjunctions(condition: Condition, negated: boolean): Conjunction[] | undefined {
  switch (condition.kind) {
    case 'always':
      return negated ? [] : [new Map()];
    case 'never':
      return negated ? [new Map()] : [];
    case 'not':
      return conjunctions(condition.term, !negated);
    case 'and':
    case 'or': {
      const parts = condition.terms.map((term) => conjunctions(term, negated));
      if (parts.some((part) => part === undefined)) return undefined;
      const known = parts as Conjunction[][];
      return (condition.kind === 'or') !== negated ? known.flat() : known.reduce(product, [new Map()]);
    }
    case 'in': {
      const mask = fullMask(condition.width);
      if (negated || mask === undefined) return undefined;
      return condition.values.map((value) => new Map([[condition.arg, { mask, value }]]));
    }
    case 'compare':
      return comparison(condition, negated);
  }
}

function comparison(condition: Extract<Condition, { kind: 'compare' }>, negated: boolean): Conjunction[] | undefined {
  const { arg, width, op, value } = condition;
  const full = fullMask(width);
  if (full === undefined || (op !== '==' && op !== '!=')) return undefined;
  const mask = condition.mask & full;
  if ((op === '==') !== negated) return [new Map([[arg, { mask, value }]])];
  const bits = Array.from({ length: 64 }, (_, bit) => 1n << BigInt(bit)).filter((bit) => (mask & bit) !== 0n);
  const mostBits = 8;
  if (bits.length > mostBits) return undefined;
  return bits.map((bit) => new Map([[arg, { mask: bit, value: ~value & bit }]]));
}

/** Undefined for widths that say something of the high half. */
function fullMask(width: string): bigint | undefined {
  return width === 'low32' ? 0xffffffffn : width === 'full64' ? 0xffffffffffffffffn : undefined;
}

function product(first: readonly Conjunction[], second: readonly Conjunction[]): Conjunction[] {
  return first.flatMap((one) => second.flatMap((other) => merged(one, other) ?? []));
}

/** Undefined when both cannot hold. */
function merged(one: Conjunction, other: Conjunction): Conjunction | undefined {
  const both = new Map(one);
  for (const [arg, { mask, value }] of other) {
    const before = both.get(arg) ?? { mask: 0n, value: 0n };
    if (((before.value ^ value) & before.mask & mask) !== 0n) return undefined;
    both.set(arg, { mask: before.mask | mask, value: before.value | value });
  }
  return both;
}
