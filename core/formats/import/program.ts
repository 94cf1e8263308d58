// SPDX-License-Identifier: Apache-2.0
// A seccomp program, from whatever compiler, as a profile: not a translation of its instructions, but of the function that they compute.
// The profile of a program without losses decides exactly as the program does, which `importProgram` proves.

import { RatchetError } from '../../errors.ts';
import { argumentsOf } from '../../policy/conditions.ts';
import { neverBrokered } from '../../policy/dangerous.ts';
import { formatCondition } from '../../policy/expression/format.ts';
import { parseProfile } from '../../policy/parse-profile.ts';
import type { Action, Arch, Condition } from '../../policy/types.ts';
import { decodeAction, describeAction } from '../../simulator/action.ts';
import { errnoName, parametersOf, syscallName, syscallNames, syscallNumber } from '../../tables/index.ts';
import { type Diagram, Diagrams } from '../../verifier/diagram.ts';
import { diagramOf, diffPrograms } from '../../verifier/diff.ts';
import { conditionFor, sizeOf } from '../conditions.ts';
import { type CallRule, profileText } from './call-rules.ts';
import type { ImportOptions, ImportResult } from './oci.ts';
import { type ProgramParts, programParts, strictest } from './program-parts.ts';

/** Throws ARGUMENT_INVALID for a program that the kernel would refuse. */
export function importProgram(program: Uint8Array, { file, arch }: ImportOptions): ImportResult {
  const losses: string[] = [];
  const diagrams = new Diagrams();
  const parts = programParts(diagrams, diagramOf(diagrams, program), arch, losses);
  const actions = new ActionReader(losses);
  const rules = syscallNames(arch).flatMap((name) => callRules(diagrams, name, { parts, arch, file, losses, actions }));
  const defaults = {
    otherwise: actions.read(parts.otherwise, 'calls without a rule', false),
    unknown: actions.read(parts.unknown, 'newer calls', false),
    foreign: actions.read(parts.foreign, 'calls of other architectures', false),
  };
  const text = profileText(file, defaults, rules);
  if (losses.length === 0) assertSame(program, text, { file, arch });
  return { profileText: text, losses };
}

/** One answer of a program to one call, and for which arguments it is given; no condition where it cannot be said in one. */
export interface ProgramCase {
  readonly returned: number;
  readonly when: Condition | undefined;
}

/** All answers to one call, the one that is longest to describe last. */
export function programCases(diagrams: Diagrams, decision: Diagram): readonly ProgramCase[] {
  return [...diagrams.values(decision)]
    .map((returned) => ({ returned, when: conditionFor(diagrams, decision, returned) }))
    .sort((a, b) => cost(a) - cost(b));
}

function cost({ when }: ProgramCase): number {
  return when === undefined ? Number.POSITIVE_INFINITY : sizeOf(when);
}

interface CallContext {
  readonly parts: ProgramParts;
  readonly arch: Arch;
  readonly file: string;
  readonly losses: string[];
  readonly actions: ActionReader;
}

function callRules(diagrams: Diagrams, name: string, context: CallContext): readonly CallRule[] {
  const { parts, arch, file, losses, actions } = context;
  const decision = parts.decisionFor(syscallNumber(arch, name) ?? -1);
  const why = `from ${file}`;
  const rule = (returned: number, when: string | undefined): CallRule => ({
    name,
    action: actions.read(returned, name, !neverBrokered.has(name)),
    why,
    when,
  });
  if (diagrams.isTerminal(decision)) {
    const returned = diagrams.valueOf(decision);
    return returned === parts.otherwise ? [] : [rule(returned, undefined)];
  }
  const cases = programCases(diagrams, decision);
  // The default needs no words; otherwise what is hardest to say is what remains.
  const silent = cases.find(({ returned }) => returned === parts.otherwise) ?? cases.at(-1);
  const told = cases.filter((one) => one !== silent);
  const parameters = parametersOf(arch, name);
  if (told.some(({ when }) => when === undefined || argumentsOf(when).some((arg) => parameters[arg] === undefined))) {
    const worst = strictest(diagrams.values(decision));
    losses.push(`${name} depends on what a profile cannot test: ${describeAction(worst)} for all arguments`);
    return worst === parts.otherwise ? [] : [rule(worst, undefined)];
  }
  const rules = told.map(({ returned, when }) =>
    rule(returned, formatCondition(when ?? { kind: 'never' }, { arch, syscall: name })),
  );
  if (silent === undefined || silent.returned === parts.otherwise) return rules;
  return [...rules, rule(silent.returned, 'otherwise')];
}

/** Returned values as actions that a profile can write, with what is lost. */
class ActionReader {
  readonly #losses: string[];

  constructor(losses: string[]) {
    this.#losses = losses;
  }

  read(returned: number, what: string, brokerable: boolean): Action {
    const action = decodeAction(returned);
    if (action.kind === 'errno' && errnoName(action.errno) === undefined) {
      this.#losses.push(`${what}: errno ${action.errno} has no name, EPERM was taken`);
      return { kind: 'errno', errno: 1, quiet: true };
    }
    if (action.kind === 'broker' && !brokerable) {
      this.#losses.push(`${what} cannot be brokered: EPERM`);
      return { kind: 'errno', errno: 1, quiet: true };
    }
    if (action.kind === 'trap' && (returned & 0xffff) !== 0)
      this.#losses.push(`${what}: the data of a trap (${returned & 0xffff}) is not part of a profile`);
    return action;
  }
}

function assertSame(program: Uint8Array, text: string, { file, arch }: ImportOptions): void {
  const include = (): never => {
    throw new Error('an imported profile includes nothing');
  };
  const filter = parseProfile(text, { file, arch, include }).stages[0]?.filter;
  const [difference] = filter === undefined ? [] : diffPrograms(program, filter, arch);
  if (difference === undefined) return;
  const { from, first, second } = difference;
  throw new RatchetError(
    'FILTER_UNPROVEN',
    `the profile made of ${file} answers ${describeAction(second)} to ${syscallName(arch, from) ?? from}, and the program ${describeAction(first)}`,
    { next: 'this is a bug in ratchet; the profile was not printed' },
  );
}
