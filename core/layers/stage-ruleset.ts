// SPDX-License-Identifier: Apache-2.0
// The Landlock rulesets of later stages. The stager makes them and leaves them to the program, under numbers that no other file can have; when the stage is entered every
// thread restricts itself by one (native/sys/tighten_inject_by_thread.h).
import type { LandlockRules } from '../../native/index.ts';
import type { Mechanism } from '../launch/report.ts';
import { rulesetFd, type StageFiles } from '../policy/index.ts';
import type { ResolvedProfile } from '../policy/types.ts';
import { type GrantedPath, pathsOfStage } from './granted-paths.ts';

export interface StageRuleset {
  /** The stage that it is entered with. */
  readonly stage: string;
  readonly epoch: number;
  readonly fd: number;
  readonly handled: bigint;
  readonly paths: readonly { readonly path: string; readonly access: bigint }[];
  /** An earlier stage that is in soak: what it lets through could add rules. */
  readonly soaked: string | undefined;
}

/** `rulesOf`: as for the domain that the program is born in. */
export function planRuleset(
  files: StageFiles,
  { stages }: ResolvedProfile,
  rulesOf: (paths: readonly GrantedPath[]) => LandlockRules,
): StageRuleset {
  const { epoch } = files;
  const stage = stages[epoch];
  const { handled, rights } = rulesOf(pathsOfStage(files, stage));
  return {
    stage: stage?.name ?? '',
    epoch,
    fd: rulesetFd(epoch),
    handled,
    paths: rights,
    soaked: stages.slice(0, epoch).find(({ soak }) => soak === true)?.name,
  };
}

interface Plan {
  readonly stages: readonly { readonly ruleset: StageRuleset | undefined }[];
}

/** Each once, those of earlier stages first. */
function rulesetsOf({ stages }: Plan): readonly StageRuleset[] {
  return stages.flatMap((_, epoch) => rulesetAt({ stages }, epoch) ?? []);
}

/** What is entered with this stage, not before. */
export function rulesetAt({ stages }: Plan, epoch: number): StageRuleset | undefined {
  const ruleset = stages[epoch]?.ruleset;
  return ruleset?.epoch === epoch ? ruleset : undefined;
}

/** The descriptors that the program is born with besides those that it was given. */
export function rulesetFds(plan: Plan): readonly number[] {
  return rulesetsOf(plan).map(({ fd }) => fd);
}

/** What the stager is told. */
export function rulesetWords(plan: Plan): readonly string[] {
  return rulesetsOf(plan).flatMap(({ fd, handled, paths }) => [
    '--ruleset',
    `${fd}:${handled}`,
    ...paths.flatMap(({ path, access }) => ['--ruleset-path', `${access}:${path}`]),
  ]);
}

/** `threads`: how many made the call themselves. */
export function verifyRuleset({ stage, paths, soaked }: StageRuleset, threads: number): Mechanism {
  const name = 'landlock-files';
  const what = `${paths.length} paths from stage ${stage} on`;
  if (soaked !== undefined)
    return { name, state: 'partial', reason: `${what}; stage ${soaked} is in soak, and could have added others` };
  const how = `${threads} threads restricted themselves, each by a call whose end with 0 was seen, and all others were made by these, unless one installed a copy of the stage's filter itself meanwhile; the kernel does not show it`;
  return { name, state: 'enforced', reason: `${what}: ${how}` };
}
