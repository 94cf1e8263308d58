// SPDX-License-Identifier: Apache-2.0
// What a profile says of one call, by which rule, and what the other stages say.

import { type CompileOptions, compileFilter } from '../compiler/index.ts';
import { type ConditionContext, evaluate, formatCondition, restrictCondition } from '../policy/index.ts';
import type {
  Action,
  Arch,
  Condition,
  FilterPolicy,
  ResolvedProfile,
  ResolvedStage,
  Rule,
  SyscallRules,
} from '../policy/types.ts';
import { countsOption } from '../profile-counts.ts';
import { run as simulate } from '../simulator/index.ts';
import { errnoName } from '../tables/index.ts';
import { type Diagram, Diagrams } from '../verifier/diagram.ts';
import { atNumber, ofArch } from '../verifier/number-ranges.ts';
import { withKnown } from '../verifier/outcomes.ts';
import { policyDiagram } from '../verifier/policy-diagram.ts';
import { type AskedCall, callWith, type Known } from './asked-call.ts';
import { chosenFilter } from './stage-filter.ts';

/** The answer of a stage, or of one role in it, as `explain --json` prints it. */
export function explainPolicy(
  profile: ResolvedProfile,
  stage: ResolvedStage,
  role: string | undefined,
  { name, nr, known }: AskedCall,
): Answer {
  const tuning = countsOption(profile);
  const filterIn = (one: ResolvedStage): FilterPolicy =>
    (role === undefined ? undefined : one.roles[role]) ?? one.filter;
  const answer = explain(chosenFilter(stage, role), nr, known, tuning);
  // Decisions of one owner are equal exactly when they are the same function of the arguments.
  const diagrams = new Diagrams();
  const decision = (one: ResolvedStage): Diagram => {
    const native = ofArch(diagrams, policyDiagram(diagrams, filterIn(one)), profile.arch);
    return withKnown(diagrams, atNumber(diagrams, native, nr), known);
  };
  const differsIn = profile.stages
    .filter((other) => decision(other) !== decision(stage))
    .map((other) => ({ stage: other.name, ...short(explain(filterIn(other), nr, known, tuning)) }));
  return { syscall: name, nr, arch: profile.arch, stage: stage.name, role: role ?? null, ...answer, differsIn };
}

interface Explanation {
  readonly action: Action['kind'];
  readonly errno: string | null;
  readonly conditional: boolean;
  readonly rule: { readonly file: string; readonly line: number; readonly why: string } | null;
  readonly cases?: readonly Case[];
  /** Instructions that the compiled program executes for this very call; absent when arguments are missing. */
  readonly instructions?: number;
}

interface Case {
  readonly when: string;
  readonly action: Action['kind'];
  readonly errno: string | null;
  readonly rule: Explanation['rule'];
}

function explain(filter: FilterPolicy, nr: number, known: Known, tuning: CompileOptions): Explanation {
  const syscall = filter.syscalls.find((entry) => entry.nr === nr);
  const open = (syscall?.rules ?? [])
    .map((rule) => ({
      rule,
      left: restrictCondition(
        rule.when,
        Array.from({ length: 6 }, (_, index) => known[index]),
      ),
    }))
    .filter(({ left }) => left.kind !== 'never');
  const decided = open.find(({ left }) => left.kind === 'always');
  if (syscall === undefined || decided !== undefined || open.length === 0) {
    const call = callWith(filter.arch, nr, known);
    const verdict = evaluate(filter, call);
    return {
      ...shortAction(verdict.action),
      conditional: false,
      rule: ruleOf(verdict.rule),
      instructions: simulate(compileFilter(filter, tuning).program, call).instructions,
    };
  }
  const cases = open.map(({ rule, left }) => ({
    when: conditionText(rule, left, { arch: filter.arch, syscall: syscall.name }),
    ...shortAction(rule.action),
    rule: ruleOf(rule),
  }));
  const rest = { when: 'otherwise', ...shortAction(syscall.otherwise), rule: otherwiseRule(syscall) };
  const widest = cases[0] ?? rest;
  return { action: widest.action, errno: widest.errno, conditional: true, rule: widest.rule, cases: [...cases, rest] };
}

/** As it was written, unless known arguments have taken a part away. */
function conditionText({ when, whenText }: Rule, left: Condition, context: ConditionContext): string {
  const text = formatCondition(left, context);
  return whenText !== '' && text === formatCondition(when, context) ? whenText.replace(/\s+/g, ' ').trim() : text;
}

function otherwiseRule(syscall: SyscallRules): Explanation['rule'] {
  return ruleOf(syscall.otherwiseRule);
}

function short({ action, errno, conditional }: Explanation): Pick<Explanation, 'action' | 'errno' | 'conditional'> {
  return { action, errno, conditional };
}

export function shortAction(action: Action): { readonly action: Action['kind']; readonly errno: string | null } {
  return {
    action: action.kind,
    errno: action.kind === 'errno' ? (errnoName(action.errno) ?? String(action.errno)) : null,
  };
}

function ruleOf(rule: Rule | undefined): Explanation['rule'] {
  return rule === undefined ? null : { file: rule.source.file, line: rule.source.line, why: rule.why };
}

export function showAction({ action, errno }: Pick<Case, 'action' | 'errno'>): string {
  return errno === null ? action : `${action} ${errno}`;
}

function showRule(rule: Explanation['rule']): string {
  return rule === null ? 'no rule names it: the default decides' : `${rule.file}:${rule.line}: ${rule.why}`;
}

export type Answer = Explanation & {
  readonly syscall: string;
  readonly nr: number;
  readonly arch: Arch;
  readonly stage: string;
  readonly role: string | null;
  readonly differsIn: readonly ({ readonly stage: string } & Pick<Explanation, 'action' | 'errno' | 'conditional'>)[];
};

/** For people. */
export function showAnswer(answer: Answer): string {
  const head = `${answer.syscall} (${answer.nr}, ${answer.arch}) in stage ${answer.stage}${answer.role === null ? '' : `, role ${answer.role}`}`;
  const lines =
    answer.cases === undefined
      ? [`${head}: ${showAction(answer)}`, `  ${showRule(answer.rule)}`, `  ${answer.instructions} BPF instructions`]
      : [
          `${head}: depends on its arguments`,
          ...answer.cases.flatMap((one) => [`  ${showAction(one)} when ${one.when}`, `    ${showRule(one.rule)}`]),
        ];
  const others = answer.differsIn.map(
    (other) => `  in ${other.stage}: ${showAction(other)}${other.conditional ? ', by its arguments' : ''}`,
  );
  return [...lines, ...others].join('\n');
}
