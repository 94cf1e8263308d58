// SPDX-License-Identifier: Apache-2.0
// The key `programs`: what can be run for a VM, each under a name that stands for its path, all of its arguments and its confinement.
import { RatchetError } from '../errors.ts';
import type { Placed } from './library.ts';
import type { ProblemList } from './problem.ts';
import { checkProgramName } from './resource.ts';
import type { RawProfile, RawProgram } from './schema.ts';
import { suggestion } from './suggest.ts';
import type { NamedProgram, ResolvedProfile, ResolvedStage } from './types.ts';

/** Confines a program that says nothing else: it may move data between its streams. */
const usualProfile = 'named-program';
const defaults = { stdio: 'streams', seconds: 600, atOnce: 1 } as const;
const maxArguments = 64;
const maxArgumentBytes = 1024;

export function readPrograms({ raw, document }: Placed<RawProfile>, problems: ProblemList): readonly NamedProgram[] {
  return Object.entries(raw.programs ?? {}).map(([name, program]) => {
    const source = document.atKey(['programs', name]);
    for (const problem of problemsOf(name, program)) problems.add(source, 'wrong-value', problem);
    return {
      name,
      path: program.path,
      args: program.args ?? [],
      stdio: program.stdio ?? defaults.stdio,
      profile: program.profile ?? usualProfile,
      seconds: program.seconds ?? defaults.seconds,
      atOnce: program['at-once'] ?? defaults.atOnce,
      why: program.why,
      source,
    };
  });
}

function* problemsOf(name: string, { path, args = [], profile = usualProfile }: RawProgram): Generator<string> {
  try {
    checkProgramName(name);
  } catch (error) {
    yield (error as RatchetError).message;
  }
  if (!isPlainPath(path)) yield `"${path}" is no absolute path without ".."`;
  if (!/^[a-z][a-z0-9-]*$/.test(profile) && !isPlainPath(profile))
    yield `"${profile}" is neither the name of a shipped profile nor an absolute path`;
  if (args.length > maxArguments) yield `it has more than ${maxArguments} arguments`;
  if (args.some((argument) => argument.includes('\0') || argument.length > maxArgumentBytes))
    yield `an argument has a NUL byte or more than ${maxArgumentBytes} characters`;
}

function isPlainPath(path: string): boolean {
  return path.startsWith('/') && !path.includes('\0') && !path.split('/').includes('..');
}

/** A rule about a program that is not defined would be found out only when somebody asks for it. */
export function checkProgramsExist(
  stages: readonly ResolvedStage[],
  programs: readonly NamedProgram[],
  problems: ProblemList,
): void {
  const names = programs.map(({ name }) => name);
  for (const { request, target, source } of stages.flatMap(({ broker }) => broker))
    if (request === 'exec' && !names.includes(target))
      problems.add(source, 'unknown-program', `\`programs\` has no "${target}"${suggestion(target, names)}`);
}

/** The same for what is granted at launch or later. @throws RatchetError ADDRESS_INVALID. */
export function checkProgramExists({ name, programs = [] }: ResolvedProfile, target: string): void {
  const names = programs.map((program) => program.name);
  if (names.includes(target)) return;
  throw new RatchetError('ADDRESS_INVALID', `profile ${name} has no program "${target}"${suggestion(target, names)}`, {
    next: 'define it under `programs` of a profile',
  });
}
