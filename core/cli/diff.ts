// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import { RatchetError } from '../errors.ts';
import type { Arch, FilterPolicy, SyscallCall } from '../policy/types.ts';
import { auditArch, describeAction } from '../simulator/index.ts';
import { lastKnownNr, syscallName } from '../tables/index.ts';
import { describeCall, diffPrograms, type FilterDifference, type FilterLike } from '../verifier/index.ts';
import { loadAnyProfile } from './any-profile.ts';
import { collect } from './collect.ts';
import { print, printJson, table } from './output.ts';
import { readRawProgram } from './raw-program.ts';
import { chosenArch, chosenStage } from './stage-filter.ts';

interface DiffOptions {
  readonly arch?: string;
  readonly feature: readonly string[];
  readonly json?: boolean;
}

export function addDiff(program: Command): void {
  program
    .command('diff')
    .description('What one stage, profile or program permits and another does not, and back, exactly.')
    .argument('<a>', 'PROFILE, PROFILE:STAGE, or a raw program')
    .argument('<b>', 'PROFILE, PROFILE:STAGE, or a raw program')
    .option('--arch <arch>', 'x86_64, aarch64 or riscv64 (default: this machine)')
    .option('--feature <name>', 'with this feature of both profiles (repeatable)', collect, [])
    .option('--json', 'print {onlyInA, onlyInB, changed}')
    .addHelpText('after', '\nExit status 1 when they differ.\n\nExample:\n  ratchet diff qemu:start qemu:running')
    .action((a: string, b: string, options: DiffOptions) => {
      const arch = chosenArch(options.arch);
      const [filterA, filterB] = [a, b].map((name) => readFilter(name, arch, options.feature));
      if (filterA === undefined || filterB === undefined)
        throw new RatchetError('ARGUMENT_INVALID', 'diff needs two profiles');
      const differences = diffPrograms(filterA, filterB, arch);
      const [namesA, namesB] = [filterA, filterB].map((filter) => openCalls(filter, arch));
      const changed = differences.flatMap((difference) => rows(difference, arch));
      const result = {
        onlyInA: [...(namesA ?? [])].filter((name) => namesB?.has(name) !== true),
        onlyInB: [...(namesB ?? [])].filter((name) => namesA?.has(name) !== true),
        changed,
      };
      if (options.json === true) printJson(result);
      else print(show(a, b, result));
      if (differences.length > 0) process.exitCode = 1;
    });
}

function readFilter(text: string, arch: Arch, features: readonly string[]): FilterLike {
  const program = readRawProgram(text);
  if (program !== undefined) return program;
  const [, name = text, stage] = /^(.*?)(?::([\w-]+))?$/.exec(text) ?? [];
  return chosenStage(loadAnyProfile(name, { arch, features }), stage).filter;
}

/** Names of the calls that are permitted or brokered for at least some arguments. */
function openCalls(filter: FilterLike, arch: Arch): ReadonlySet<string> {
  const open = diffPrograms(refuseAll(arch), filter, arch).filter(({ looserInSecond }) => looserInSecond);
  return new Set(open.flatMap((difference) => namedNumbers(difference, arch).map(({ name }) => name)).sort());
}

function refuseAll(arch: Arch): FilterPolicy {
  const refused = { kind: 'kill-process' } as const;
  return {
    arch,
    syscalls: [],
    otherwise: refused,
    unknown: refused,
    foreign: refused,
    lastKnownNr: lastKnownNr(arch),
  };
}

interface Changed {
  readonly syscall: string;
  readonly a: string;
  readonly b: string;
  /** A call that shows the difference. */
  readonly example: string;
}

/** A run of numbers has one difference; runs past the table are the unknown tail. */
function rows(difference: FilterDifference, arch: Arch): Changed[] {
  const { from, to, call } = difference;
  const answers = { a: describeAction(difference.first), b: describeAction(difference.second) };
  if (call.auditArch !== auditArch[arch])
    return [{ syscall: 'other architectures', ...answers, example: exampleText(call, arch) }];
  const named = namedNumbers(difference, arch);
  if (named.length === 0)
    return [{ syscall: from === to ? `${from}` : `${from}-${to}`, ...answers, example: exampleText(call, arch) }];
  return named.map(({ nr, name }) => ({ syscall: name, ...answers, example: exampleText({ ...call, nr }, arch) }));
}

function exampleText(call: SyscallCall, arch: Arch): string {
  return describeCall(call, arch, (nr) => (call.auditArch === auditArch[arch] ? syscallName(arch, nr) : undefined));
}

function namedNumbers(
  { from, to, call }: FilterDifference,
  arch: Arch,
): readonly { readonly nr: number; readonly name: string }[] {
  if (call.auditArch !== auditArch[arch]) return [];
  const last = Math.min(to, lastKnownNr(arch));
  return Array.from({ length: Math.max(0, last - from + 1) }, (_, index) => from + index).flatMap((nr) => {
    const name = syscallName(arch, nr);
    return name === undefined ? [] : [{ nr, name }];
  });
}

function show(
  a: string,
  b: string,
  result: {
    readonly onlyInA: readonly string[];
    readonly onlyInB: readonly string[];
    readonly changed: readonly Changed[];
  },
): string {
  if (result.changed.length === 0) return `${a} and ${b} decide alike on every call`;
  return [
    `only ${a} lets through: ${result.onlyInA.join(' ') || 'nothing'}`,
    `only ${b} lets through: ${result.onlyInB.join(' ') || 'nothing'}`,
    '',
    table([['SYSCALL', a, b, 'FOR EXAMPLE'], ...result.changed.map((one) => [one.syscall, one.a, one.b, one.example])]),
  ].join('\n');
}
