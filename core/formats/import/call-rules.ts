// SPDX-License-Identifier: Apache-2.0
// Rules for single calls, as importers read them, made into the text of a profile.

import { dump } from 'js-yaml';
import { letsThrough } from '../../policy/actions.ts';
import { dangerousCalls } from '../../policy/dangerous.ts';
import type { ConditionContext } from '../../policy/expression/operands.ts';
import { parseCondition } from '../../policy/expression/parse.ts';
import { canBothHold, satisfiable } from '../../policy/satisfiable.ts';
import type { Action, Arch, Condition } from '../../policy/types.ts';
import { errnoName } from '../../tables/index.ts';

/** One alternative for one call. `when` is undefined for all arguments. */
export interface CallRule {
  readonly name: string;
  readonly action: Action;
  readonly why: string;
  readonly when: string | undefined;
}

/** The kernel's own order of actions, strictest first (include/uapi/linux/seccomp.h). */
const strictness = ['kill-process', 'kill-thread', 'trap', 'errno', 'broker', 'trace', 'log', 'allow'];

/** Rules of different actions for one call must not overlap in a profile: where two hold, the stricter one wins, and the loss is told. */
export function disjoint(
  name: string,
  rules: readonly CallRule[],
  { arch, losses }: { readonly arch: Arch; readonly losses: string[] },
): readonly CallRule[] {
  const byAction = new Map<string, CallRule[]>();
  for (const rule of rules) {
    const key = JSON.stringify(rule.action);
    byAction.set(key, [...(byAction.get(key) ?? []), rule]);
  }
  if (byAction.size < 2) return merged(rules);
  const context = { arch, syscall: name };
  const result: CallRule[] = [];
  const stricter: { readonly text: string; readonly condition: Condition }[] = [];
  let overlaps = false;
  const groups = [...byAction.values()].sort((a, b) => rank(a) - rank(b));
  for (const group of groups) {
    const open = group.find(({ when }) => when === undefined);
    if (open !== undefined) {
      overlaps = true;
      result.push({ ...open, when: stricter.length === 0 ? undefined : 'otherwise' });
      break;
    }
    const own = merged(group).map((rule) => ({ rule, condition: parseCondition(rule.when ?? '', context) }));
    for (const { rule, condition } of own) {
      const over = stricter.filter((other) => canBothHold(condition, other.condition) !== 'no');
      overlaps ||= over.length > 0;
      const without = over.map(({ text }) => ` and not (${text})`).join('');
      result.push(without === '' ? rule : { ...rule, when: `(${rule.when})${without}` });
    }
    stricter.push(...own.map(({ rule, condition }) => ({ text: rule.when ?? '', condition })));
  }
  if (overlaps) losses.push(`${name} has entries of different actions: where two hold, the stricter one was taken`);
  return result;
}

function rank(group: readonly CallRule[]): number {
  return strictness.indexOf(group[0]?.action.kind ?? 'allow');
}

/** An unconditional rule makes the conditional ones of the same action superfluous. */
function merged(rules: readonly CallRule[]): readonly CallRule[] {
  const open = rules.find(({ when }) => when === undefined);
  return open === undefined ? [...new Map(rules.map((rule) => [rule.when, rule])).values()] : [open];
}

/** What decides where no rule does. `unknown` is the default where it is absent: libseccomp has no tail for newer calls. */
export interface Defaults {
  readonly otherwise: Action;
  readonly unknown?: Action;
  readonly foreign?: Action;
}

/** Rules of one role, and its default. */
export interface RoleRules {
  readonly otherwise: Action;
  readonly rules: readonly CallRule[];
  readonly why: string;
}

/** The profile of one stage with these rules. */
export function profileText(
  file: string,
  defaults: Defaults,
  rules: readonly CallRule[],
  roles: Readonly<Record<string, RoleRules>> = {},
): string {
  const { otherwise, unknown = otherwise, foreign = { kind: 'kill-process' } } = defaults;
  const letsAll = [otherwise, unknown, foreign].some(letsThrough);
  const profile = {
    version: 1,
    name: nameFrom(file),
    vmm: 'none',
    stages: {
      start: {
        default: defaultText(otherwise),
        unknown: defaultText(unknown),
        foreign: defaultText(foreign),
        ...(letsAll ? { risk: `the source lets through what it does not list (${file})` } : {}),
        syscalls: ruleObjects(rules, file),
        ...(Object.keys(roles).length === 0 ? {} : { roles: roleObjects(roles, file) }),
      },
    },
  };
  return `# Imported from ${file}.\n${dump(profile, { lineWidth: 140, noRefs: true })}`;
}

/** A role says all of its rules: nothing of the stage's is kept. */
function roleObjects(roles: Readonly<Record<string, RoleRules>>, file: string): object {
  const entries = Object.entries(roles).map(([name, { otherwise, rules, why }]) => [
    name,
    { why, default: defaultText(otherwise), keep: [], syscalls: ruleObjects(rules, file) },
  ]);
  return Object.fromEntries(entries);
}

function ruleObjects(rules: readonly CallRule[], file: string): readonly object[] {
  const byKind = new Map<string, CallRule[]>();
  for (const rule of rules) {
    // Conditions name the arguments of one call; rules without one can stand together.
    const key =
      rule.when === undefined
        ? `${JSON.stringify(rule.action)} ${rule.why} ${isRisky(rule)}`
        : JSON.stringify([rule.name, rule.when]);
    byKind.set(key, [...(byKind.get(key) ?? []), rule]);
  }
  return [...byKind.values()].map((group) => ruleObject(group, file));
}

function ruleObject(group: readonly CallRule[], file: string): object {
  const [first] = group;
  if (first === undefined) return {};
  const { action, when, why } = first;
  const names = group.map(({ name }) => name).sort();
  const key = action.kind === 'errno' ? 'refuse' : action.kind;
  return {
    [key]: names,
    ...(action.kind === 'errno' ? { errno: errnoName(action.errno) } : {}),
    ...(action.kind === 'trace' ? { data: action.data } : {}),
    ...(when === undefined ? {} : { when }),
    why,
    ...(isRisky(first) ? { risk: `${file} allows it whatever the arguments` } : {}),
  };
}

function isRisky({ name, action, when }: CallRule): boolean {
  return dangerousCalls.has(name) && (when === undefined || when === 'otherwise') && letsThrough(action);
}

function defaultText(action: Action): string {
  if (action.kind === 'errno') return `errno ${errnoName(action.errno) ?? 'EPERM'}`;
  return action.kind === 'trace' ? `trace ${action.data}` : action.kind === 'broker' ? 'errno EPERM' : action.kind;
}

function nameFrom(file: string): string {
  const base =
    file
      .split('/')
      .at(-1)
      ?.replace(/\.[^.]*$/, '') ?? '';
  return base === '' ? 'imported' : base;
}

/** A number as conditions write it. */
export function hex(value: bigint): string {
  return value < 10n ? String(value) : `0x${value.toString(16)}`;
}

/** The condition, or `always` or `never` where it is that. Throws ExpressionError. */
export function simplified(text: string, context: ConditionContext): string {
  const condition: Condition = parseCondition(text, context);
  if (satisfiable(condition) === 'no') return 'never';
  return satisfiable({ kind: 'not', term: condition }) === 'no' ? 'always' : text;
}
