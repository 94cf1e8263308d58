// SPDX-License-Identifier: Apache-2.0
// What a recording shows that a stage does not permit, as rules for a person to review. Nothing here is ever enforced by itself: a rule's `why` begins
// with TODO, and a profile with such a rule does not load.

import { formatAction, letsThrough } from '../policy/actions.ts';
import { dangerousCalls } from '../policy/dangerous.ts';
import { formatCondition } from '../policy/expression/format.ts';
import { restrictCondition } from '../policy/restrict.ts';
import type { Action, Arch, Condition, FilterPolicy, ResolvedProfile, ResolvedStage, Rule } from '../policy/types.ts';
import { hasNamedValues, parametersOf } from '../tables/index.ts';
import type { Recording, SeenCall } from './recording.ts';

export interface Proposal {
  readonly stage: string;
  readonly calls: number;
  readonly threads: number;
  /** Every call that was seen, the most frequent first, and what each stage says of it. */
  readonly syscalls: readonly SeenSyscall[];
  /** Rules for what no rule of the stage speaks of. */
  readonly rules: readonly ProposedRule[];
  /** Seen, and refused by a rule: on purpose, so nothing is proposed. */
  readonly refused: readonly RefusedCall[];
  /** Permitted by the stage and never seen. */
  readonly unseen: readonly string[];
}

export interface SeenSyscall {
  readonly syscall: string;
  readonly count: number;
  readonly verdicts: Readonly<Record<string, Verdict>>;
}

/** `some`: permitted for some of the arguments that were seen, or that it may have had. */
export type Verdict = 'allowed' | 'brokered' | 'refused' | 'some';

export interface ProposedRule {
  readonly allow: readonly string[];
  readonly when?: string;
  readonly count: number;
}

export interface RefusedCall {
  readonly syscall: string;
  readonly count: number;
  readonly answer: string;
  readonly rule: { readonly file: string; readonly line: number; readonly why: string };
}

export function propose(recording: Recording, profile: ResolvedProfile, stage: ResolvedStage): Proposal {
  const byName = new Map<string, SeenCall[]>();
  for (const seen of recording.seen) byName.set(seen.name, [...(byName.get(seen.name) ?? []), seen]);
  const missing = new Map<string, SeenCall[]>();
  const refused = new Map<string, RefusedCall>();
  for (const [name, list] of byName) {
    for (const seen of list) {
      const { action, rule } = answerTo(stage.filter, seen);
      if (action === undefined || passes(action)) continue;
      if (rule === undefined) missing.set(name, [...(missing.get(name) ?? []), seen]);
      else {
        const key = `${name} ${rule.source.file}:${rule.source.line}`;
        const { file, line } = rule.source;
        const count = (refused.get(key)?.count ?? 0) + seen.count;
        refused.set(key, { syscall: name, count, answer: formatAction(action), rule: { file, line, why: rule.why } });
      }
    }
  }
  const syscalls = [...byName]
    .map(([syscall, list]) => ({
      syscall,
      count: total(list),
      verdicts: Object.fromEntries(profile.stages.map((one) => [one.name, verdictOf(one.filter, list)])),
    }))
    .sort((a, b) => b.count - a.count || (a.syscall < b.syscall ? -1 : 1));
  const unseen = stage.filter.syscalls
    .filter(
      ({ name, rules, otherwise }) =>
        !byName.has(name) && [otherwise, ...rules.map(({ action }) => action)].some(passes),
    )
    .map(({ name }) => name)
    .sort();
  const { calls, threads } = recording;
  return {
    stage: stage.name,
    calls,
    threads,
    syscalls,
    rules: rulesFor(missing, profile.arch),
    refused: [...refused.values()],
    unseen,
  };
}

function passes(action: Action): boolean {
  return letsThrough(action) || action.kind === 'broker';
}

/** What the stage answers; no action where that hangs on arguments that the recording does not tell. */
function answerTo(
  filter: FilterPolicy,
  { nr, args }: SeenCall,
): { action: Action | undefined; rule: Rule | undefined } {
  const entry = filter.syscalls.find((one) => one.nr === nr);
  if (entry === undefined) return { action: filter.otherwise, rule: undefined };
  const left = entry.rules.map((rule) => ({ rule, when: restrictCondition(rule.when, args) }));
  const sure = left.find(({ when }) => when.kind === 'always');
  if (sure !== undefined) return { action: sure.rule.action, rule: sure.rule };
  if (left.some(({ when }) => when.kind !== 'never')) return { action: undefined, rule: undefined };
  return { action: entry.otherwise, rule: entry.otherwiseRule };
}

function verdictOf(filter: FilterPolicy, list: readonly SeenCall[]): Verdict {
  const actions = list.map((seen) => answerTo(filter, seen).action);
  if (actions.every((action) => action !== undefined && letsThrough(action))) return 'allowed';
  if (actions.every((action) => action !== undefined && passes(action))) return 'brokered';
  return actions.every((action) => action !== undefined && !passes(action)) ? 'refused' : 'some';
}

/** Calls whose arguments tell something get a rule of their own; the others share one. */
function rulesFor(missing: ReadonlyMap<string, readonly SeenCall[]>, arch: Arch): readonly ProposedRule[] {
  const plain: string[] = [];
  let plainCount = 0;
  const rules: ProposedRule[] = [];
  for (const [name, list] of [...missing].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const when = conditionFor(name, list, arch);
    if (when !== undefined)
      rules.push({ allow: [name], when: formatCondition(when, { arch, syscall: name }), count: total(list) });
    else if (dangerousCalls.has(name)) rules.push({ allow: [name], count: total(list) });
    else {
      plain.push(name);
      plainCount += total(list);
    }
  }
  return plain.length === 0 ? rules : [{ allow: plain, count: plainCount }, ...rules];
}

/** More values than this are no list that a person reviews. */
const mostValues = 40;

/** The values that were seen, of arguments that have names for them. */
function conditionFor(name: string, list: readonly SeenCall[], arch: Arch): Condition | undefined {
  const terms = parametersOf(arch, name).flatMap(({ index, width }): readonly Condition[] => {
    if (!hasNamedValues(arch, name, index)) return [];
    const seen = list.map(({ args }) => args[index]);
    if (seen.some((value) => value === undefined)) return [];
    const bits = width === 'low32' ? 32 : 64;
    const values = [...new Set(seen.map((value) => BigInt.asUintN(bits, value ?? 0n)))].sort((a, b) =>
      a < b ? -1 : 1,
    );
    const [only] = values;
    if (values.length > mostValues || only === undefined) return [];
    if (values.length > 1) return [{ kind: 'in', arg: index, width, values }];
    const mask = (1n << BigInt(bits)) - 1n;
    return [{ kind: 'compare', arg: index, width, mask, op: '==', value: only, signed: false }];
  });
  const [only] = terms;
  return terms.length > 1 ? { kind: 'and', terms } : only;
}

function total(list: readonly { readonly count: number }[]): number {
  return list.reduce((sum, { count }) => sum + count, 0);
}
