// SPDX-License-Identifier: Apache-2.0
// What a stage answers to each call, as values of SECCOMP_RET_*: what all exporters start from.

import type { Action, FilterPolicy, SyscallRules } from '../../policy/types.ts';
import { encodeAction, refuses } from '../../simulator/action.ts';
import { errnoNumber, syscallNames, syscallNumber } from '../../tables/index.ts';
import { type Diagram, Diagrams } from '../../verifier/diagram.ts';
import { atNumber, ofArch } from '../../verifier/number-ranges.ts';
import { policyDiagram } from '../../verifier/policy-diagram.ts';
import { type Alternative, alternativesFor, type TestOptions } from './argument-tests.ts';

/** Entries for one call; fewer where they would only tell one refusal from another. */
const mostEntries = 2600;
const mostRefusals = 64;

/** One answer to one call, where it is not the default. */
export interface CallAnswer {
  readonly name: string;
  readonly returned: number;
  /** Any of these; undefined where they are too many to write. */
  readonly alternatives: readonly Alternative[] | undefined;
}

export interface StageAnswers {
  readonly otherwise: number;
  /** By call, in the order of names. */
  readonly calls: readonly (readonly CallAnswer[])[];
}

export function stageAnswers(filter: FilterPolicy, options: Pick<TestOptions, 'compares32'>): StageAnswers {
  const diagrams = new Diagrams();
  const native = ofArch(diagrams, policyDiagram(diagrams, filter), filter.arch);
  const otherwise = encodeAction(filter.otherwise);
  const calls = [...syscallNames(filter.arch)].sort().map((name) => {
    const decision = atNumber(diagrams, native, syscallNumber(filter.arch, name) ?? -1);
    return answers(diagrams, decision, name, otherwise, options);
  });
  return { otherwise, calls: calls.filter((list) => list.length > 0) };
}

function answers(
  diagrams: Diagrams,
  decision: Diagram,
  name: string,
  otherwise: number,
  options: Pick<TestOptions, 'compares32'>,
): readonly CallAnswer[] {
  return [...diagrams.values(decision)]
    .filter((returned) => returned !== otherwise)
    .sort((a, b) => a - b)
    .map((returned) => {
      const most = refuses(returned) && refuses(otherwise) ? mostRefusals : mostEntries;
      return { name, returned, alternatives: alternativesFor(diagrams, decision, returned, { ...options, most }) };
    });
}

/** The stage where nobody is asked: a brokered call is refused as the broker refuses what is not granted. */
export function withoutBroker(filter: FilterPolicy): FilterPolicy {
  const refused: Action = { kind: 'errno', errno: errnoNumber('EACCES') ?? 13, quiet: false };
  const closed = (action: Action): Action => (action.kind === 'broker' ? refused : action);
  const closedRules = (entry: SyscallRules): SyscallRules => ({
    ...entry,
    rules: entry.rules.map((rule) => ({ ...rule, action: closed(rule.action) })),
    otherwise: closed(entry.otherwise),
  });
  return {
    ...filter,
    syscalls: filter.syscalls.map(closedRules),
    otherwise: closed(filter.otherwise),
    unknown: closed(filter.unknown),
    foreign: closed(filter.foreign),
  };
}

/** The stage with execve permitted, for whoever starts the program under it. */
export function withExec(filter: FilterPolicy): FilterPolicy {
  const name = 'execve';
  const nr = syscallNumber(filter.arch, name) ?? -1;
  const permitted: SyscallRules = { nr, name, rules: [], otherwise: { kind: 'allow' } };
  const others = filter.syscalls.filter((entry) => entry.nr !== nr);
  return { ...filter, syscalls: [...others, permitted].sort((a, b) => a.nr - b.nr) };
}
