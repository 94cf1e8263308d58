// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import { RatchetError } from '../errors.ts';
import { summarizeFilter } from '../policy/index.ts';
import type { Arch, FilterPolicy } from '../policy/types.ts';
import { loadAnyProfile } from './any-profile.ts';
import { askedCall } from './asked-call.ts';
import { collect } from './collect.ts';
import { explainPolicy, showAnswer } from './explain-policy.ts';
import { explainProgram, listProgram, showProgramAnswer } from './explain-program.ts';
import { print, printJson, table } from './output.ts';
import { readRawProgram } from './raw-program.ts';
import { chosenArch, chosenFilter, chosenStage } from './stage-filter.ts';

interface ExplainOptions {
  readonly stage?: string;
  readonly role?: string;
  readonly arch?: string;
  readonly feature: readonly string[];
  readonly summary?: boolean;
  readonly json?: boolean;
}

export function addExplain(program: Command): void {
  program
    .command('explain')
    .description('What a profile, or a BPF program, says of a system call, by which rule, and why.')
    .argument('<profile>', 'a shipped profile, a file, or a raw BPF program')
    .argument('[syscall]', 'name or number; of a program all of it is listed without one')
    .argument('[arguments...]', 'NAME=VALUE or arg0=VALUE; values are numbers or constants such as AF_INET')
    .option('--stage <stage>', 'the stage; may be left out when there is only one')
    .option('--role <role>', 'the rules for threads of this role')
    .option('--arch <arch>', 'x86_64, aarch64 or riscv64 (default: this machine)')
    .option('--feature <name>', 'with this feature of the profile (repeatable)', collect, [])
    .option('--summary', 'count what the stage leaves open')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
Arguments that are not given may have any value: the answer then lists what decides. A raw program (consecutive
struct sock_filter) is answered for by what it computes, with the instructions on the way.

Examples:
  ratchet explain qemu --stage running socket domain=AF_INET type=SOCK_DGRAM
  ratchet explain qemu --stage running --summary
  ratchet explain filter.bpf openat`,
    )
    .action((name: string, syscall: string | undefined, given: string[], options: ExplainOptions) => {
      const arch = chosenArch(options.arch);
      const bytes = readRawProgram(name);
      if (bytes !== undefined) explainRaw(bytes, { name, arch, syscall, given, options });
      else explainProfile({ name, arch, syscall, given, options });
    });
}

interface Asked {
  readonly name: string;
  readonly arch: Arch;
  readonly syscall: string | undefined;
  readonly given: readonly string[];
  readonly options: ExplainOptions;
}

function explainProfile({ name, arch, syscall, given, options }: Asked): void {
  const profile = loadAnyProfile(name, { arch, features: options.feature });
  const stage = chosenStage(profile, options.stage);
  if (options.summary === true) {
    if (syscall !== undefined)
      throw new RatchetError('ARGUMENT_INVALID', `--summary is about all system calls, not ${syscall}`);
    const filter = chosenFilter(stage, options.role);
    const summary = { stage: stage.name, role: options.role ?? null, arch, ...summarizeFilter(filter) };
    if (options.json === true) printJson(summary);
    else print(showSummary(summary, filter));
    return;
  }
  if (syscall === undefined) throw new RatchetError('ARGUMENT_INVALID', 'explain needs a system call, or --summary');
  const answer = explainPolicy(profile, stage, options.role, askedCall(arch, syscall, given));
  if (options.json === true) printJson(answer);
  else print(showAnswer(answer));
}

function explainRaw(program: Uint8Array, { name, arch, syscall, given, options }: Asked): void {
  for (const option of ['stage', 'role', 'summary'] as const) {
    if (options[option] !== undefined)
      throw new RatchetError('ARGUMENT_INVALID', `${name} is a program, which has no --${option}`, {
        next: `leave it out, or make a profile of it: ratchet import --from raw ${name}`,
      });
  }
  if (syscall === undefined) {
    const listing = listProgram(program, arch);
    if (options.json === true) printJson({ arch, instructions: listing.length, listing });
    else print(listing.join('\n'));
    return;
  }
  const answer = explainProgram(program, arch, askedCall(arch, syscall, given));
  if (options.json === true) printJson(answer);
  else print(showProgramAnswer(answer, name));
}

function showSummary(
  summary: { stage: string; role: string | null; allowed: number; conditional: number; brokered: number },
  filter: FilterPolicy,
): string {
  const reasons = filter.syscalls.flatMap(({ name, rules }) =>
    rules
      .filter(({ action }) => action.kind !== 'errno')
      .map(({ action, whenText, why }) => [name, action.kind, whenText === '' ? '' : 'by arguments', why]),
  );
  return [
    `stage ${summary.stage}${summary.role === null ? '' : `, role ${summary.role}`}: ${summary.allowed} system calls allowed, ${summary.conditional} by their arguments, ${summary.brokered} only through the broker`,
    '',
    table([['SYSCALL', 'ACTION', '', 'WHY'], ...reasons]),
  ].join('\n');
}
