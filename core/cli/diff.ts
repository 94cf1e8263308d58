// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import { RatchetError } from '../errors.ts';
import { summarizeFilter } from '../policy/index.ts';
import type { Arch, FilterPolicy } from '../policy/types.ts';
import { describeAction } from '../simulator/index.ts';
import { syscallName } from '../tables/index.ts';
import { describeCall, diffPrograms, type FilterDifference } from '../verifier/index.ts';
import { loadAnyProfile } from './any-profile.ts';
import { collect } from './collect.ts';
import { print, printJson, table } from './output.ts';
import { chosenArch, chosenStage } from './stage-filter.ts';

interface DiffOptions {
  readonly arch?: string;
  readonly feature: readonly string[];
  readonly json?: boolean;
}

export function addDiff(program: Command): void {
  program
    .command('diff')
    .description('What one stage or profile permits and another does not, and back, exactly.')
    .argument('<a>', 'PROFILE or PROFILE:STAGE')
    .argument('<b>', 'PROFILE or PROFILE:STAGE')
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
      const [namesA, namesB] = [filterA, filterB].map((filter) => new Set(summarizeFilter(filter).names));
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

function readFilter(text: string, arch: Arch, features: readonly string[]): FilterPolicy {
  const [, name = text, stage] = /^(.*?)(?::([\w-]+))?$/.exec(text) ?? [];
  return chosenStage(loadAnyProfile(name, { arch, features }), stage).filter;
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
  const names = Array.from({ length: Math.min(to - from + 1, 1024) }, (_, index) =>
    syscallName(arch, from + index),
  ).filter((name) => name !== undefined);
  const answers = { a: describeAction(difference.first), b: describeAction(difference.second) };
  if (names.length === 0) return [{ syscall: `${from}-${to}`, ...answers, example: describeCall(call, arch) }];
  return names.map((syscall) => ({ syscall, ...answers, example: describeCall(call, arch) }));
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
