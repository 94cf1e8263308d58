// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import { type CompileOptions, compileFilter } from '../compiler/index.ts';
import { RatchetError } from '../errors.ts';
import {
  type ConditionContext,
  ExpressionError,
  evaluate,
  formatCondition,
  parseCondition,
  restrictCondition,
  suggestion,
  summarizeFilter,
} from '../policy/index.ts';
import type { Action, Arch, Condition, FilterPolicy, Rule, SyscallCall, SyscallRules } from '../policy/types.ts';
import { countsOption } from '../profile-counts.ts';
import { run as simulate } from '../simulator/index.ts';
import { auditArchOf, errnoName, syscallName, syscallNames, syscallNumber } from '../tables/index.ts';
import { loadAnyProfile } from './any-profile.ts';
import { collect } from './collect.ts';
import { print, printJson, table } from './output.ts';
import { chosenArch, chosenFilter, chosenStage } from './stage-filter.ts';

interface ExplainOptions {
  readonly stage?: string;
  readonly role?: string;
  readonly arch?: string;
  readonly feature: readonly string[];
  readonly summary?: boolean;
  readonly json?: boolean;
}

type Known = (bigint | undefined)[];

export function addExplain(program: Command): void {
  program
    .command('explain')
    .description('What a profile says of a system call, by which rule, and why.')
    .argument('<profile>', 'a shipped profile, or a file')
    .argument('[syscall]', 'name or number')
    .argument('[arguments...]', 'NAME=VALUE or arg0=VALUE; values are numbers or constants such as AF_INET')
    .option('--stage <stage>', 'the stage; may be left out when there is only one')
    .option('--role <role>', 'the rules for threads of this role')
    .option('--arch <arch>', 'x86_64, aarch64 or riscv64 (default: this machine)')
    .option('--feature <name>', 'with this feature of the profile (repeatable)', collect, [])
    .option('--summary', 'count what the stage leaves open')
    .option('--json', 'print one JSON object')
    .addHelpText('after', '\nExample:\n  ratchet explain qemu --stage running socket domain=AF_INET type=SOCK_DGRAM')
    .action((profileName: string, syscall: string | undefined, given: string[], options: ExplainOptions) => {
      const arch = chosenArch(options.arch);
      const profile = loadAnyProfile(profileName, { arch, features: options.feature });
      const stage = chosenStage(profile, options.stage);
      const filter = chosenFilter(stage, options.role);
      const common = { arch, stage: stage.name, role: options.role ?? null };
      if (options.summary === true) {
        if (syscall !== undefined)
          throw new RatchetError('ARGUMENT_INVALID', `--summary is about all system calls, not ${syscall}`);
        const summary = { ...common, ...summarizeFilter(filter) };
        if (options.json === true) return printJson(summary);
        return print(showSummary(summary, filter));
      }
      if (syscall === undefined)
        throw new RatchetError('ARGUMENT_INVALID', 'explain needs a system call, or --summary');
      const nr = numberOf(arch, syscall);
      const name = syscallName(arch, nr) ?? `#${nr}`;
      const known = readArguments(arch, name, given);
      const tuning = countsOption(profile);
      const answer = { syscall: name, nr, ...common, ...explain(filter, nr, known, tuning) };
      const elsewhere = profile.stages
        .filter((other) => other.name !== stage.name)
        .map((other) => ({ stage: other.name, ...short(explain(other.filter, nr, known, tuning)) }))
        .filter(
          (other) =>
            other.action !== answer.action || other.errno !== answer.errno || other.conditional !== answer.conditional,
        );
      const whole = { ...answer, differsIn: elsewhere };
      if (options.json === true) return printJson(whole);
      print(showAnswer(whole));
    });
}

function numberOf(arch: Arch, text: string): number {
  const nr = /^\d+$/.test(text) ? Number(text) : syscallNumber(arch, text);
  if (nr !== undefined && nr <= 0xffff_ffff) return nr;
  throw new RatchetError(
    'ARGUMENT_INVALID',
    `${arch} has no system call ${text}${suggestion(text, syscallNames(arch))}`,
  );
}

/** `domain=AF_INET` to the register that a caller would pass. */
function readArguments(arch: Arch, syscall: string, given: readonly string[]): Known {
  const known: Known = [];
  for (const text of given) {
    const [, name, value] = /^(\w+)=(.+)$/.exec(text) ?? [];
    if (name === undefined) throw new RatchetError('ARGUMENT_INVALID', `${text} is not NAME=VALUE`);
    try {
      const condition = parseCondition(`${name} == ${value}`, { arch, syscall });
      if (condition.kind !== 'compare') throw new ExpressionError(0, 'expression', 'it is not a value');
      if (known[condition.arg] !== undefined) throw new ExpressionError(0, 'expression', `${name} is given twice`);
      known[condition.arg] = condition.value;
    } catch (error) {
      if (!(error instanceof ExpressionError)) throw error;
      throw new RatchetError('ARGUMENT_INVALID', `${text}: ${error.message}`);
    }
  }
  return known;
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

function shortAction(action: Action): { readonly action: Action['kind']; readonly errno: string | null } {
  return {
    action: action.kind,
    errno: action.kind === 'errno' ? (errnoName(action.errno) ?? String(action.errno)) : null,
  };
}

function ruleOf(rule: Rule | undefined): Explanation['rule'] {
  return rule === undefined ? null : { file: rule.source.file, line: rule.source.line, why: rule.why };
}

function callWith(arch: Arch, nr: number, known: Known): SyscallCall {
  const at = (index: number): bigint => known[index] ?? 0n;
  return { nr, auditArch: auditArchOf(arch), args: [at(0), at(1), at(2), at(3), at(4), at(5)] };
}

function showAction({ action, errno }: Pick<Case, 'action' | 'errno'>): string {
  return errno === null ? action : `${action} ${errno}`;
}

function showRule(rule: Explanation['rule']): string {
  return rule === null ? 'no rule names it: the default decides' : `${rule.file}:${rule.line}: ${rule.why}`;
}

type Answer = Explanation & {
  readonly syscall: string;
  readonly nr: number;
  readonly arch: Arch;
  readonly stage: string;
  readonly differsIn: readonly ({ readonly stage: string } & Pick<Explanation, 'action' | 'errno' | 'conditional'>)[];
};

function showAnswer(answer: Answer): string {
  const head = `${answer.syscall} (${answer.nr}, ${answer.arch}) in stage ${answer.stage}`;
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

function showSummary(
  summary: { stage: string; allowed: number; conditional: number; brokered: number },
  filter: FilterPolicy,
): string {
  const reasons = filter.syscalls.flatMap(({ name, rules }) =>
    rules
      .filter(({ action }) => action.kind !== 'errno')
      .map(({ action, whenText, why }) => [name, action.kind, whenText === '' ? '' : 'by arguments', why]),
  );
  return [
    `stage ${summary.stage}: ${summary.allowed} system calls allowed, ${summary.conditional} by their arguments, ${summary.brokered} only through the broker`,
    '',
    table([['SYSCALL', 'ACTION', '', 'WHY'], ...reasons]),
  ].join('\n');
}
