// SPDX-License-Identifier: Apache-2.0
// The rules of stage `running`, one call each, and profiles that lack one of them. Pure.
import { untoldOfRoles } from '../../core/policy/dangerous.ts';
import { evaluate, letsThrough } from '../../core/policy/index.ts';
import type { Action, FilterPolicy, ResolvedProfile, ResolvedStage, Rule } from '../../core/policy/types.ts';
import { auditArchOf, errnoName, syscallNumber } from '../../core/tables/index.ts';

/** A rule that lets a call through or leaves it to the broker, in the stage or in one of its roles. */
export interface PermittingRule {
  /** `process` for the stage's own filter. */
  readonly role: string;
  readonly call: string;
  /** As written; empty when the rule has no condition. */
  readonly when: string;
  readonly why: string;
}

export interface ObservedCall {
  readonly role: string;
  readonly name: string;
  readonly args: readonly (bigint | undefined)[];
}

export function ruleKey({ role, call, when }: PermittingRule): string {
  return `${role} ${call}${when === '' ? '' : ` when ${when}`}`;
}

export function stageOf(profile: ResolvedProfile, wanted: string): ResolvedStage {
  const found = profile.stages.find(({ name }) => name === wanted);
  if (found === undefined) throw new Error(`profile ${profile.name} has no stage ${wanted}`);
  return found;
}

export function runningStage(profile: ResolvedProfile): ResolvedStage {
  return stageOf(profile, 'running');
}

/** All permitting rules; of a role only what differs in nothing from the stage's own, since a role can only take away. */
export function permittingRules(stage: ResolvedStage): readonly PermittingRule[] {
  const filters = [['process', stage.filter] as const, ...Object.entries(stage.roles)];
  return filters.flatMap(([role, filter]) =>
    filter.syscalls.flatMap(({ name, rules }) =>
      rules
        .filter(({ action }) => permits(action))
        .map(({ whenText, why }) => ({ role, call: name, when: tidy(whenText), why })),
    ),
  );
}

/** Which rules a call of a thread needs: that of the stage, and that of its role. */
export function rulesUsed(stage: ResolvedStage, { role, name, args }: ObservedCall): readonly string[] {
  const filters: readonly (readonly [string, FilterPolicy])[] = [
    ['process', stage.filter],
    ...Object.entries(stage.roles).filter(([each]) => each === role),
  ];
  const [a = 0n, b = 0n, c = 0n, d = 0n, e = 0n, f = 0n] = args.map((arg) => BigInt.asUintN(64, arg ?? 0n));
  const nr = syscallNumber(stage.filter.arch, name) ?? -1;
  return filters.flatMap(([each, filter]) => {
    const call = { nr, auditArch: auditArchOf(filter.arch), args: [a, b, c, d, e, f] } as const;
    const { action, rule } = evaluate(filter, call);
    if (rule === undefined || !permits(action)) return [];
    return [ruleKey({ role: each, call: name, when: tidy(rule.whenText), why: '' })];
  });
}

/**
 * Stage `running` as a profile writes it, every rule by itself, without the one of this key. What it permitted is refused aloud.
 * @throws when there is no such rule.
 */
export function withoutRule(stage: ResolvedStage, key: string | undefined): Readonly<Record<string, unknown>> {
  let found = false;
  const written = (role: string, filter: FilterPolicy): readonly object[] =>
    writtenFilter(filter, (name, rule) => {
      const gone = permits(rule.action) && ruleKey({ role, call: name, when: tidy(rule.whenText), why: '' }) === key;
      found ||= gone;
      return !gone;
    });
  const syscalls = written('process', stage.filter);
  // Whatever a role lacks then, nobody has to be told: the row fails.
  const untold = [...untoldOfRoles];
  const roles = Object.fromEntries(
    Object.entries(stage.roles).map(([role, filter]) => [
      role,
      { why: 'as shipped', keep: [], untold, syscalls: intersect(written(role, filter), key) },
    ]),
  );
  if (!found && key !== undefined) throw new Error(`stage ${stage.name} has no rule "${key}"`);
  return { syscalls, roles };
}

/** The rules of a filter as a profile writes them, each by itself. */
export function writtenFilter(
  { syscalls }: FilterPolicy,
  stays: (call: string, rule: Rule) => boolean = () => true,
): readonly object[] {
  return syscalls.flatMap(({ name, rules, otherwiseRule }) =>
    [...rules, ...(otherwiseRule === undefined ? [] : [otherwiseRule])]
      .filter((rule) => stays(name, rule))
      .map((rule) => writtenRule(name, rule, rule === otherwiseRule)),
  );
}

/** The broker's rules of a stage as a profile writes them. */
export function writtenBroker({ broker }: ResolvedStage): Readonly<Record<string, readonly object[]>> {
  const rows: Record<string, object[]> = {};
  for (const { request, target, refuseErrno, mayGrant, why } of broker) {
    const row =
      refuseErrno === undefined
        ? { [mayGrant === true ? 'may-grant' : 'grant']: [target], why }
        : { refuse: [target], errno: errnoName(refuseErrno), why };
    rows[request] = [...(rows[request] ?? []), row];
  }
  return rows;
}

/** A role permits nothing that its stage does not: what was taken from the stage goes from its roles too. */
function intersect(rules: readonly object[], key: string | undefined): readonly object[] {
  if (key?.startsWith('process ') !== true) return rules;
  const [call, when = ''] = key.slice('process '.length).split(' when ');
  return rules.filter((rule) => {
    const { allow, broker, when: own = '' } = rule as Readonly<Record<string, string | readonly string[]>>;
    return !((allow ?? broker)?.includes(call ?? '') === true && (when === '' || tidy(String(own)) === when));
  });
}

function writtenRule(name: string, rule: Rule, otherwise: boolean): object {
  const when = otherwise ? 'otherwise' : tidy(rule.whenText);
  return {
    ...writtenAction(name, rule.action),
    ...(when === '' ? {} : { when }),
    why: rule.why,
    ...(rule.risk === undefined ? {} : { risk: rule.risk }),
  };
}

function writtenAction(name: string, action: Action): object {
  switch (action.kind) {
    case 'errno':
      return { refuse: [name], errno: errnoName(action.errno), ...(action.quiet ? { quiet: true } : {}) };
    case 'trace':
      return { trace: [name], data: action.data };
    default:
      return { [action.kind]: [name] };
  }
}

function permits(action: Action): boolean {
  return letsThrough(action) || action.kind === 'broker';
}

function tidy(text: string): string {
  return text === 'otherwise' ? '' : text.replaceAll(/\s+/g, ' ').trim();
}
