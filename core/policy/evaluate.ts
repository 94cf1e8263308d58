// SPDX-License-Identifier: Apache-2.0
// What the policy says, in the plainest way: the meaning that every compiled program is measured against.

import { auditArchOf, syscallNumber } from '../tables/index.ts';
import { allOnes, signBit } from './expression/words.ts';
import type { Action, Condition, FilterPolicy, SyscallCall, SyscallRules, Verdict, Width } from './types.ts';

/** The decision on one call. */
export function evaluate(policy: FilterPolicy, call: SyscallCall): Verdict {
  const nr = call.nr >>> 0;
  if (isForeign(policy, call.auditArch, nr)) return { action: policy.foreign, rule: undefined, syscall: undefined };
  const syscall = rulesOf(policy, nr);
  if (syscall === undefined) {
    const action = nr > policy.lastKnownNr ? policy.unknown : policy.otherwise;
    return { action, rule: undefined, syscall: undefined };
  }
  const rule = syscall.rules.find(({ when }) => matches(when, call.args));
  if (rule !== undefined) return { action: rule.action, rule, syscall };
  return { action: syscall.otherwise, rule: syscall.otherwiseRule, syscall };
}

/** The same of a call by its name; arguments that are missing are 0. */
export function decide(policy: FilterPolicy, name: string, args: readonly bigint[]): Action {
  const [a = 0n, b = 0n, c = 0n, d = 0n, e = 0n, f = 0n] = args;
  const nr = syscallNumber(policy.arch, name) ?? -1;
  return evaluate(policy, { nr, auditArch: auditArchOf(policy.arch), args: [a, b, c, d, e, f] }).action;
}

/** x32 calls carry x86_64's own audit value and bit 30 in the number. */
function isForeign(policy: FilterPolicy, auditArch: number, nr: number): boolean {
  if (auditArch >>> 0 !== auditArchOf(policy.arch)) return true;
  return policy.arch === 'x86_64' && (nr & 0x4000_0000) !== 0;
}

function rulesOf(policy: FilterPolicy, nr: number): SyscallRules | undefined {
  let low = 0;
  let high = policy.syscalls.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const entry = policy.syscalls[middle];
    if (entry === undefined || entry.nr === nr) return entry;
    if (entry.nr < nr) low = middle + 1;
    else high = middle - 1;
  }
  return undefined;
}

/** Whether the arguments (64-bit register values) meet the condition. */
export function matches(condition: Condition, args: readonly bigint[]): boolean {
  switch (condition.kind) {
    case 'always':
      return true;
    case 'never':
      return false;
    case 'and':
      return condition.terms.every((term) => matches(term, args));
    case 'or':
      return condition.terms.some((term) => matches(term, args));
    case 'not':
      return !matches(condition.term, args);
    case 'in': {
      const word = readWord(condition.width, args[condition.arg]);
      return word !== undefined && condition.values.includes(word);
    }
    case 'compare': {
      const word = readWord(condition.width, args[condition.arg]);
      if (word === undefined) return false;
      // Flipping the sign bit of both sides turns a signed comparison into an unsigned one.
      const flip = condition.signed ? signBit(condition.width) : 0n;
      const left = (word & condition.mask) ^ flip;
      const right = condition.value ^ flip;
      switch (condition.op) {
        case '==':
          return left === right;
        case '!=':
          return left !== right;
        case '<':
          return left < right;
        case '<=':
          return left <= right;
        case '>':
          return left > right;
        case '>=':
          return left >= right;
      }
    }
  }
}

/** The register in this width; undefined where the width demands a high half that is not there: then no test on it holds, not even `!=`. */
function readWord(width: Width, register: bigint | undefined): bigint | undefined {
  const full = BigInt.asUintN(64, register ?? 0n);
  const low = full & allOnes('low32');
  switch (width) {
    case 'low32':
      return low;
    case 'full64':
      return full;
    case 'zero32':
      return full === low ? low : undefined;
    case 'sign32':
      return full === BigInt.asUintN(64, BigInt.asIntN(32, low)) ? low : undefined;
  }
}
