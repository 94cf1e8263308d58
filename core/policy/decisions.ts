// SPDX-License-Identifier: Apache-2.0
// The rules of a stage gathered by call. Order means nothing: two rules of different actions may not both hold for any arguments.

import { syscallNumber } from '../tables/index.ts';
import { formatAction, sameAction } from './actions.ts';
import type { FlatRule } from './flatten.ts';
import { formatSource, type ProblemList } from './problem.ts';
import { canBothHold } from './satisfiable.ts';
import type { Action, Arch, Rule, SyscallRules } from './types.ts';

interface CallRules {
  readonly rules: Rule[];
  readonly otherwise: Rule[];
}

/** Rules by call name. */
export type Decisions = ReadonlyMap<string, CallRules>;

export function gather(rules: readonly FlatRule[]): Decisions {
  const decisions = new Map<string, CallRules>();
  for (const { syscall, otherwise, rule } of rules) {
    const entry = decisions.get(syscall) ?? { rules: [], otherwise: [] };
    (otherwise ? entry.otherwise : entry.rules).push(rule);
    decisions.set(syscall, entry);
  }
  return decisions;
}

/** Both lists of rules for every call. */
export function joinDecisions(a: Decisions, b: Decisions): Decisions {
  const joined = new Map(a);
  for (const [name, { rules, otherwise }] of b) {
    const before = a.get(name);
    joined.set(name, {
      rules: [...(before?.rules ?? []), ...rules],
      otherwise: [...(before?.otherwise ?? []), ...otherwise],
    });
  }
  return joined;
}

/** The table by number, with contradictions reported. */
export function toSyscallRules(
  decisions: Decisions,
  arch: Arch,
  fallback: Action,
  problems: ProblemList,
): readonly SyscallRules[] {
  const table: SyscallRules[] = [];
  for (const [name, entry] of decisions) {
    const nr = syscallNumber(arch, name);
    if (nr === undefined) continue;
    const rules = distinct(entry.rules);
    const otherwise = distinct(entry.otherwise);
    reportContradictions(name, rules, problems);
    reportContradictions(name, otherwise, problems);
    const [last] = otherwise;
    const decided = { nr, name, rules, otherwise: last?.action ?? fallback };
    table.push(last === undefined ? decided : { ...decided, otherwiseRule: last });
  }
  return table.sort((a, b) => a.nr - b.nr);
}

/** A group that is taken over twice gives each of its rules twice. */
function distinct(rules: readonly Rule[]): readonly Rule[] {
  return [...new Map(rules.map((rule) => [formatSource(rule.source), rule])).values()];
}

function reportContradictions(name: string, rules: readonly Rule[], problems: ProblemList): void {
  for (const [index, rule] of rules.entries()) {
    for (const other of rules.slice(0, index)) {
      if (sameAction(rule.action, other.action)) continue;
      const overlap = canBothHold(rule.when, other.when);
      if (overlap === 'no') continue;
      const certainty =
        overlap === 'yes'
          ? 'both hold for some arguments'
          : 'the conditions are too large to show that they never both hold';
      problems.add(
        rule.source,
        'contradiction',
        `${name}: this rule says "${formatAction(rule.action)}", the one at ${formatSource(other.source)} says "${formatAction(other.action)}", and ${certainty}. Restrict one by "when", or give the general one "when: otherwise"`,
      );
    }
  }
}
