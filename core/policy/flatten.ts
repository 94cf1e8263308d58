// SPDX-License-Identifier: Apache-2.0
// A list of rules as written becomes a list of rules for single calls: groups are taken over, names looked up, conditions read.

import { archesWith, archNames, syscallNames, syscallNumber } from '../tables/index.ts';
import { letsThrough } from './actions.ts';
import { dangerousCalls, neverBrokered } from './dangerous.ts';
import { ExpressionError } from './expression/error.ts';
import { parseCondition } from './expression/parse.ts';
import type { Library, Placed } from './library.ts';
import { parseRuleAction } from './parse-action.ts';
import type { ProblemList } from './problem.ts';
import { satisfiable } from './satisfiable.ts';
import type { RawRule } from './schema.ts';
import { suggestion } from './suggest.ts';
import type { Arch, Condition, Rule, Source } from './types.ts';

/** A rule for one call. `otherwise`: it holds where no other rule of the call does. */
export interface FlatRule {
  readonly syscall: string;
  readonly otherwise: boolean;
  readonly rule: Rule;
}

export interface FlattenContext {
  readonly arch: Arch;
  readonly library: Library;
  readonly problems: ProblemList;
  /** Groups that were read already, by name: several stages take over the same ones. */
  readonly flattened: Map<string, readonly FlatRule[]>;
}

/** The rules of a group, read once. */
export function flattenGroup(
  name: string,
  group: Placed<readonly RawRule[]>,
  context: FlattenContext,
  using: readonly string[] = [],
): readonly FlatRule[] {
  const known = context.flattened.get(name);
  if (known !== undefined) return known;
  const rules = flattenRules(group, context, [...using, name]);
  context.flattened.set(name, rules);
  return rules;
}

/** Rules for single calls, in the order written. */
export function flattenRules(
  placed: Placed<readonly RawRule[]>,
  context: FlattenContext,
  using: readonly string[] = [],
): readonly FlatRule[] {
  return placed.raw.flatMap((raw, index) => {
    const rule = { raw, document: placed.document, path: [...placed.path, index] };
    return raw.use === undefined ? flattenRule(rule, context) : useGroups(rule, context, using);
  });
}

function useGroups(placed: Placed<RawRule>, context: FlattenContext, using: readonly string[]): readonly FlatRule[] {
  const { raw, document, path } = placed;
  const { library, problems } = context;
  for (const key of Object.keys(raw)) {
    if (key !== 'use' && key !== 'why')
      problems.add(document.atKey([...path, key]), 'wrong-value', `"${key}" cannot stand beside "use"`);
  }
  return (raw.use ?? []).flatMap((written, index) => {
    const name = written.replace(/^@/, '');
    const group = library.groups.get(name);
    const source = document.at([...path, 'use', index]);
    if (group === undefined) {
      problems.add(source, 'unknown-group', `unknown group "${name}"${suggestion(name, library.groups.keys())}`);
      return [];
    }
    if (using.includes(name)) {
      problems.add(source, 'unknown-group', `the group "${name}" uses itself: ${[...using, name].join(' -> ')}`);
      return [];
    }
    return flattenGroup(name, group, context, using);
  });
}

function flattenRule(placed: Placed<RawRule>, context: FlattenContext): readonly FlatRule[] {
  const { raw, document, path } = placed;
  const { problems } = context;
  const source = document.at(path);
  if (raw.why === undefined)
    problems.add(source, 'missing-key', 'every rule needs "why": who makes this call, and for what');
  for (const key of ['why', 'risk'] as const) {
    if (raw[key]?.startsWith('TODO'))
      problems.add(
        document.at([...path, key]),
        'unreviewed',
        `this "${key}" is still to be written: say who makes the call and for what, or take the rule out`,
      );
  }
  const found = parseRuleAction(raw, document, path, problems);
  if (found === undefined) return [];
  const applies = raw.on === undefined || raw.on.includes(context.arch);
  // A rule for other architectures is still read, by the tables of the first of them, so that its mistakes show up everywhere.
  const arch = applies ? context.arch : (raw.on?.[0] ?? context.arch);
  const calls = expandNames({ raw: raw[found.key] ?? [], document, path: [...path, found.key] }, { ...context, arch });
  const flat = calls.flatMap((call) => {
    const when = readCondition(placed, call.name, arch, problems);
    if (when === undefined) return [];
    checkCall(call, raw, found.action.kind === 'broker', letsThrough(found.action), problems);
    const rule: Rule = {
      action: found.action,
      when,
      whenText: raw.when ?? '',
      why: raw.why ?? '',
      risk: raw.risk,
      source,
    };
    return [{ syscall: call.name, otherwise: isOtherwise(raw), rule }];
  });
  return applies ? flat : [];
}

function isOtherwise(raw: RawRule): boolean {
  return raw.when?.trim() === 'otherwise';
}

function checkCall(call: NamedCall, raw: RawRule, brokered: boolean, through: boolean, problems: ProblemList): void {
  if (brokered && neverBrokered.has(call.name)) {
    problems.add(
      call.source,
      'not-brokerable',
      `${call.name} can never be brokered: a process waiting in it for the broker could not even end`,
    );
  }
  const conditional = raw.when !== undefined && !isOtherwise(raw);
  if (through && dangerousCalls.has(call.name) && !conditional && raw.risk === undefined) {
    problems.add(
      call.source,
      'dangerous',
      `${call.name} is dangerous: give the rule a "when" that restricts its arguments, or a "risk" that says why it needs none`,
    );
  }
}

function readCondition(
  placed: Placed<RawRule>,
  syscall: string,
  arch: Arch,
  problems: ProblemList,
): Condition | undefined {
  const { raw, document, path } = placed;
  if (raw.when === undefined || isOtherwise(raw)) return { kind: 'always' };
  const whenPath = [...path, 'when'];
  try {
    const when = parseCondition(raw.when, { arch, syscall });
    // One value or set of a whole argument can always be met and missed.
    if (when.kind === 'in') return when;
    if (satisfiable(when) === 'no') {
      problems.add(document.at(whenPath), 'never-true', `${syscall}: this condition can never hold`);
      return undefined;
    }
    if (satisfiable({ kind: 'not', term: when }) === 'no') {
      problems.add(
        document.at(whenPath),
        'never-true',
        `${syscall}: this condition holds for all arguments: leave out "when"`,
      );
      return undefined;
    }
    return when;
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    problems.add(document.within(whenPath, error.offset), error.code, error.message);
    return undefined;
  }
}

interface NamedCall {
  readonly name: string;
  readonly source: Source;
}

/** Names as written to calls of this architecture, without doubles. Unknown names are problems. */
export function expandNames(
  placed: Placed<readonly string[]>,
  context: FlattenContext,
  using: readonly string[] = [],
): readonly NamedCall[] {
  const { arch, library, problems } = context;
  const calls = placed.raw.flatMap((written, index): readonly NamedCall[] => {
    const source = placed.document.at([...placed.path, index]);
    if (!written.startsWith('@')) return isCall(written, source, arch, problems) ? [{ name: written, source }] : [];
    const name = written.slice(1);
    const list = library.names.get(name);
    if (list === undefined) {
      const hint = library.groups.has(name)
        ? `: it is a group of rules, take it over by "- use: [${name}]"`
        : suggestion(name, library.names.keys());
      problems.add(source, 'unknown-group', `unknown list of calls "@${name}"${hint}`);
      return [];
    }
    if (using.includes(name)) {
      problems.add(source, 'unknown-group', `the list "@${name}" contains itself: ${[...using, name].join(' -> ')}`);
      return [];
    }
    return expandNames(list, context, [...using, name]);
  });
  return [...new Map(calls.map((call) => [call.name, call])).values()];
}

function isCall(name: string, source: Source, arch: Arch, problems: ProblemList): boolean {
  if (syscallNumber(arch, name) !== undefined) return true;
  const others = archesWith(name);
  if (others.length > 0) {
    problems.add(
      source,
      'other-architecture',
      `${name} does not exist on ${arch}: give it a rule of its own with "on: [${others.join(', ')}]"`,
    );
  } else {
    const known = new Set(archNames.flatMap((each) => syscallNames(each)));
    problems.add(source, 'unknown-syscall', `unknown system call "${name}"${suggestion(name, known)}`);
  }
  return false;
}
