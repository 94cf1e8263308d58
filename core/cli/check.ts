// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import { compileProfile } from '../compiler/index.ts';
import { RatchetError } from '../errors.ts';
import { findUntold, formatSource, ProfileError } from '../policy/index.ts';
import type { ResolvedProfile, Source } from '../policy/types.ts';
import { countsOption } from '../profile-counts.ts';
import { proveTightening } from '../verifier/index.ts';
import { loadAnyProfile } from './any-profile.ts';
import { collect } from './collect.ts';
import { print, printJson, style } from './output.ts';
import { chosenArch } from './stage-filter.ts';

interface CheckOptions {
  readonly arch?: string;
  readonly feature: readonly string[];
  readonly json?: boolean;
}

export function addCheck(program: Command): void {
  program
    .command('check')
    .description('Parse and lint profiles, compile them, prove the programs, and prove that stages only tighten.')
    .argument('<file...>', 'profile files, or names of shipped ones')
    .option('--arch <arch>', 'x86_64, aarch64 or riscv64 (default: this machine)')
    .option('--feature <name>', 'with this feature of the profile (repeatable)', collect, [])
    .option('--json', 'print {ok, problems: [{file, line, column, code, message}]}')
    .action((files: string[], options: CheckOptions) => {
      const results = files.map((file) => ({ file, ...check(file, options) }));
      const problems = results.flatMap((result) => result.problems);
      if (options.json === true) printJson({ ok: problems.length === 0, problems });
      else for (const result of results) print(show(result));
      if (problems.length > 0) process.exitCode = 1;
    });
}

interface Problem extends Source {
  readonly code: string;
  readonly message: string;
}

interface Checked {
  readonly problems: readonly Problem[];
  readonly stages: readonly string[];
}

/** A problem of the profile is an answer; a file that is not there is misuse. */
function check(file: string, options: CheckOptions): Checked {
  let profile: ResolvedProfile;
  try {
    profile = loadAnyProfile(file, { arch: chosenArch(options.arch), features: options.feature });
  } catch (error) {
    if (error instanceof ProfileError) return { problems: error.problems, stages: [] };
    throw error;
  }
  const untold = findUntold(profile);
  if (untold.length > 0) return { problems: untold, stages: [] };
  try {
    const compiled = compileProfile(profile, countsOption(profile));
    return {
      problems: [],
      stages: compiled.stages.map(({ name, instructions }) => `${name} (${counted(instructions, 'instruction')})`),
    };
  } catch (error) {
    // Compiling stops at the first place that loosens; here all are wanted.
    const loosened = proveTightening(profile);
    if (loosened.length > 0) return { problems: loosened, stages: [] };
    if (!(error instanceof RatchetError) || error.code !== 'FILTER_TOO_LARGE') throw error;
    return {
      problems: [{ file: profile.file, line: 1, column: 1, code: 'too-large', message: error.message }],
      stages: [],
    };
  }
}

function show({ file, problems, stages }: Checked & { readonly file: string }): string {
  if (problems.length > 0) return problems.map((problem) => `${formatSource(problem)}: ${problem.message}`).join('\n');
  return `${file}: ${style('green', 'ok')}, ${counted(stages.length, 'stage')}, each no wider than the one before, each program proven: ${stages.join(', ')}`;
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}
