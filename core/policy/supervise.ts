// SPDX-License-Identifier: Apache-2.0
// From what a profile says to what its programs must do. The kernel permits one notification listener per process, and it belongs to the
// first program. So the first stage's program notifies whatever is brokered in any stage, and whatever any stage refuses aloud: an errno of the
// kernel's own leaves no trace. Later programs let those same calls through to it, and the supervisor answers by the stage it is in. What a stage
// refuses quietly or kills for stays the kernel's own answer. So it is with roles: the supervisor knows the roles of threads (brokers/thread-roles.ts). Only for
// calls that every thread makes all the time nothing is notified for a role's sake; the role's own program refuses those.

import { RatchetError } from '../errors.ts';
import { isRefusal, sameAnswer } from './actions.ts';
import { madeAllTheTime, madeByLauncher, neverBrokered, untoldOfRoles } from './dangerous.ts';
import { satisfiable } from './satisfiable.ts';
import type { Action, Condition, FilterPolicy, ResolvedProfile, Rule, SyscallRules } from './types.ts';

export interface SupervisedStage {
  readonly name: string;
  readonly epoch: number;
  readonly filter: FilterPolicy;
  readonly roles: Readonly<Record<string, FilterPolicy>>;
}

/** The policies that the programs of a profile are compiled from, stage by stage. Throws PROFILE_INVALID when they are not of one system call table. */
export function supervise(profile: ResolvedProfile): { readonly stages: readonly SupervisedStage[] } {
  const first = profile.stages[0];
  if (first === undefined) return { stages: [] };
  const policies = profile.stages.flatMap(({ filter, roles }) => [filter, ...Object.values(roles)]);
  for (const { arch, lastKnownNr } of policies) {
    if (arch === first.filter.arch && lastKnownNr === first.filter.lastKnownNr) continue;
    throw new RatchetError('PROFILE_INVALID', `profile ${profile.name} has stages for different system call tables`);
  }
  const notified = new Notified(profile, first.filter, policies);
  const stages = profile.stages.map(({ name, epoch, filter, roles }) => {
    const transform = epoch === 0 ? notifying : passing;
    return {
      name,
      epoch,
      filter: transform(filter, notified),
      roles: Object.fromEntries(
        Object.entries(roles).map(([role, policy]) => [role, passing(policy, notified, filter)]),
      ),
    };
  });
  return { stages };
}

/** What a role refuses aloud, and its stage does not, of calls that nothing is notified for: no event tells of it. */
export interface UntoldRefusal {
  readonly stage: string;
  readonly role: string;
  readonly policy: FilterPolicy;
  readonly call: SyscallRules;
}

export function untoldRefusals(profile: ResolvedProfile): readonly UntoldRefusal[] {
  const first = profile.stages[0];
  if (first === undefined) return [];
  const notified = new Notified(
    profile,
    first.filter,
    profile.stages.flatMap(({ filter, roles }) => [filter, ...Object.values(roles)]),
  );
  return profile.stages.flatMap(({ name: stage, filter, roles }) =>
    Object.entries(roles).flatMap(([role, policy]) =>
      notified.numbers.flatMap((nr) => {
        const name = notified.nameOf(nr);
        const call = entryOf(policy, nr, name);
        // As most are. To show it by their conditions would take seconds for an ioctl.
        if (!untoldOfRoles.has(name) || isSame(call, entryOf(filter, nr, name))) return [];
        const silent = allOf([stricter(call, filter, isRefusedAloud), not(notified.when(nr))]);
        return satisfiable(silent) === 'no' ? [] : [{ stage, role, policy, call }];
      }),
    ),
  );
}

/** For which arguments of which calls the first program notifies. */
class Notified {
  /** Whether calls that no policy names are notified, and those above the last known number. */
  readonly byDefault: boolean;
  readonly unknown: boolean;
  readonly numbers: readonly number[];
  readonly #conditions = new Map<number, Condition>();
  readonly #names = new Map<number, string>();

  /** `policies` are those of all stages and roles. */
  constructor(profile: ResolvedProfile, first: FilterPolicy, policies: readonly FilterPolicy[]) {
    const stages = profile.stages.map(({ filter }) => filter);
    const notifies = (pick: (policy: FilterPolicy) => Action): boolean =>
      (isRefusedAloud(pick(first)) || !isRefusal(pick(first))) &&
      (policies.some((policy) => isBroker(pick(policy))) || stages.some((stage) => isRefusedAloud(pick(stage))));
    this.byDefault = notifies(({ otherwise }) => otherwise);
    this.unknown = notifies(({ unknown }) => unknown);
    for (const { syscalls } of policies) for (const { nr, name } of syscalls) this.#names.set(nr, name);
    this.numbers = [...this.#names.keys()].sort((a, b) => a - b);
    for (const nr of this.numbers) this.#conditions.set(nr, this.#conditionFor(nr, profile, policies));
  }

  nameOf(nr: number): string {
    return this.#names.get(nr) ?? '';
  }

  when(nr: number): Condition {
    return this.#conditions.get(nr) ?? { kind: this.byDefault ? 'always' : 'never' };
  }

  #conditionFor(nr: number, profile: ResolvedProfile, policies: readonly FilterPolicy[]): Condition {
    const name = this.nameOf(nr);
    const stages = profile.stages.map(({ filter }) => filter);
    const first = stages[0];
    if (first === undefined || neverBrokered.has(name)) return { kind: 'never' };
    const own = entryOf(first, nr, name);
    const refusedQuietly = whenAction(own, isRefusedUntold);
    const brokered = policies.map((policy) => whenAction(entryOf(policy, nr, name), isBroker));
    const explained = madeByLauncher.has(name) ? [first] : stages;
    const refusedAloud = explained.map((stage) => whenAction(entryOf(stage, nr, name), isRefusedAloud));
    const refusedToRoles = isToldOfRoles(name, profile)
      ? profile.stages.flatMap(({ filter, roles }) =>
          Object.values(roles).map((role) => stricter(entryOf(role, nr, name), filter, isRefusedAloud)),
        )
      : [];
    return allOf([anyOf([...refusedAloud, ...brokered, ...refusedToRoles]), not(refusedQuietly)]);
  }
}

/** In soak everything that a role refuses has to reach the supervisor, which lets it through; it is not meant to be fast. */
function isToldOfRoles(name: string, { stages }: ResolvedProfile): boolean {
  if (madeByLauncher.has(name)) return false;
  return !madeAllTheTime.has(name) || stages.some(({ soak }) => soak === true);
}

/** The first stage: its own verdicts, and `broker` where it notifies. */
function notifying(policy: FilterPolicy, notified: Notified): FilterPolicy {
  return transformed(policy, notified, { kind: 'broker' });
}

/**
 * A later stage or a role: its own verdicts where nothing is notified, and `allow` where the first program asks the supervisor. `stage` is given for
 * a role: what the role refuses quietly or kills for, and its stage does not, stays the kernel's answer.
 */
function passing(policy: FilterPolicy, notified: Notified, stage?: FilterPolicy): FilterPolicy {
  return transformed(policy, notified, { kind: 'allow' }, stage);
}

function transformed(
  policy: FilterPolicy,
  notified: Notified,
  whereNotified: Action,
  stage?: FilterPolicy,
): FilterPolicy {
  const stricterByDefault = (pick: (from: FilterPolicy) => Action): boolean =>
    stage !== undefined && isRefusedUntold(pick(policy)) && !sameAnswer(pick(policy), pick(stage));
  const byDefault = (isNotified: boolean, pick: (from: FilterPolicy) => Action): Action =>
    isNotified && !stricterByDefault(pick) ? whereNotified : unnotified(pick(policy));
  return {
    ...policy,
    syscalls: notified.numbers.map((nr) => {
      const entry = entryOf(policy, nr, notified.nameOf(nr));
      const own = stage === undefined ? neverHolds : stricter(entry, stage, isRefusedUntold);
      const when = allOf([notified.when(nr), not(own)]);
      const otherwise = unnotified(entry.otherwise);
      if (when.kind === 'always') return { ...entry, rules: [], otherwise: whereNotified };
      const others = entry.rules
        .map((rule) => ({ ...rule, action: unnotified(rule.action), when: allOf([rule.when, not(when)]) }))
        .filter((rule) => rule.when.kind !== 'never');
      if (when.kind === 'never') return { ...entry, rules: others, otherwise };
      return { ...entry, rules: [supervisorRule(whereNotified, when), ...others], otherwise };
    }),
    otherwise: byDefault(notified.byDefault, ({ otherwise }) => otherwise),
    unknown: byDefault(notified.unknown, ({ unknown }) => unknown),
    foreign: unnotified(policy.foreign),
  };
}

/** Where a role's entry has one of these refusals and its stage answers otherwise. */
function stricter(entry: SyscallRules, stage: FilterPolicy, ofKind: (action: Action) => boolean): Condition {
  const ofStage = entryOf(stage, entry.nr, entry.name);
  const refusals = [entry.otherwise, ...entry.rules.map(({ action }) => action)].filter(ofKind);
  return anyOf(
    refusals.map((refusal) => {
      const same = (action: Action): boolean => sameAnswer(action, refusal);
      return allOf([whenAction(entry, (action) => ofKind(action) && same(action)), not(whenAction(ofStage, same))]);
    }),
  );
}

function isSame(a: SyscallRules, b: SyscallRules): boolean {
  return (
    sameAnswer(a.otherwise, b.otherwise) &&
    a.rules.length === b.rules.length &&
    a.rules.every((rule, index) => rule === b.rules[index])
  );
}

/** `broker` on a call that is never notified. The loader refuses such rules; policies built by hand are closed here. */
function unnotified(action: Action): Action {
  return isBroker(action) ? { kind: 'errno', errno: 13, quiet: true } : action;
}

function supervisorRule(action: Action, when: Condition): Rule {
  return {
    action,
    when,
    whenText: '',
    why: 'answered by the supervisor, by the stage it is in',
    risk: undefined,
    source: { file: 'supervise', line: 1, column: 1 },
  };
}

const entriesOf = new WeakMap<FilterPolicy, ReadonlyMap<number, SyscallRules>>();

function entryOf(policy: FilterPolicy, nr: number, name: string): SyscallRules {
  let entries = entriesOf.get(policy);
  if (entries === undefined) {
    entries = new Map(policy.syscalls.map((entry) => [entry.nr, entry]));
    entriesOf.set(policy, entries);
  }
  return entries.get(nr) ?? { nr, name, rules: [], otherwise: policy.otherwise };
}

function whenAction({ rules, otherwise }: SyscallRules, test: (action: Action) => boolean): Condition {
  const byRule = rules.filter(({ action }) => test(action)).map(({ when }) => when);
  if (!test(otherwise)) return anyOf(byRule);
  // The default's part is what no rule with another answer claims.
  return not(anyOf(rules.filter(({ action }) => !test(action)).map(({ when }) => when)));
}

function isBroker({ kind }: Action): boolean {
  return kind === 'broker';
}

function isRefusedAloud(action: Action): boolean {
  return action.kind === 'errno' && !action.quiet;
}

function isRefusedUntold(action: Action): boolean {
  return isRefusal(action) && !isRefusedAloud(action);
}

const neverHolds: Condition = { kind: 'never' };

function anyOf(terms: readonly Condition[]): Condition {
  return joined('or', terms);
}

function allOf(terms: readonly Condition[]): Condition {
  return joined('and', terms);
}

function joined(kind: 'and' | 'or', terms: readonly Condition[]): Condition {
  const decisive = kind === 'and' ? 'never' : 'always';
  const neutral = kind === 'and' ? 'always' : 'never';
  if (terms.some((term) => term.kind === decisive)) return { kind: decisive };
  const rest = terms.filter((term) => term.kind !== neutral);
  const [only, ...others] = rest;
  if (only === undefined) return { kind: neutral };
  return others.length === 0 ? only : { kind, terms: rest };
}

function not(term: Condition): Condition {
  if (term.kind === 'always') return { kind: 'never' };
  if (term.kind === 'never') return { kind: 'always' };
  return { kind: 'not', term };
}
