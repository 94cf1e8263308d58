// SPDX-License-Identifier: Apache-2.0
// Where a later stage leaves fewer files, each thread is made to restrict itself by a Landlock ruleset that the stager made before its exec (docs/layers.md). What the
// filters must let happen for that, and what they must not: a process could add rules to a ruleset that it holds, and a ring works on in the domain that it was made in.
import { constantValue } from '../tables/index.ts';
import { letsThrough } from './actions.ts';
import type { ProfileDocument } from './document.ts';
import { decide } from './evaluate.ts';
import type { StageLayers } from './layers.ts';
import type { ProblemList } from './problem.ts';
import type { FilterPolicy, ResolvedProfile, ResolvedStage, Source } from './types.ts';

/** The descriptor of a stage's ruleset in the program. The limit on open files ends below the lowest, so no other file can take the number of one that was closed. */
export function rulesetFd(epoch: number): number {
  return Number(constantValue('x86_64', 'RATCHET_EXEC_FD')) - epoch;
}

/** Adds what is wrong to `problems`. */
export function checkStageFiles(
  { stages }: ResolvedProfile,
  layers: readonly StageLayers[],
  document: ProfileDocument,
  problems: ProblemList,
): void {
  const said = stages.filter(({ epoch }) => layers[epoch]?.files?.epoch === epoch);
  for (const stage of said) {
    const at = document.at(['stages', stage.name, 'layers', 'files']);
    const wrong = (message: string, source: Source = at): void => problems.add(source, 'contradiction', message);
    checkEntry(stage, stages, wrong);
    checkWayRound(stage, stages, wrong);
  }
  const last = said.at(-1);
  if (last === undefined) return;
  if (letThrough(last.filter, 'landlock_restrict_self') !== undefined)
    problems.add(
      document.at(['stages', last.name, 'layers', 'files']),
      'contradiction',
      `stage ${last.name} lets landlock_restrict_self through, and no stage after it leaves fewer files: refuse it`,
    );
}

type Wrong = (message: string, source?: Source) => void;

/** Each thread makes the calls for itself, under the filters that it has. */
function checkEntry({ name, epoch }: ResolvedStage, stages: readonly ResolvedStage[], wrong: Wrong): void {
  const before = stages.slice(0, epoch);
  const policies = [
    ...before.slice(-1).map((stage): [string, FilterPolicy] => [`stage ${stage.name}`, stage.filter]),
    ...before.flatMap((stage) =>
      Object.entries(stage.roles).map(([role, policy]): [string, FilterPolicy] => [
        `role ${role} of stage ${stage.name}`,
        policy,
      ]),
    ),
  ];
  for (const [what, policy] of policies)
    for (const [call, args] of callsInto(epoch, policy)) {
      const { kind } = decide(policy, call, args);
      if (kind === 'allow' || kind === 'log') continue;
      wrong(
        `${what} does not allow ${call} with flags == 0, by which each thread comes to the files of stage ${name}: use the group next-files of groups/start in it`,
      );
    }
}

function callsInto(
  epoch: number,
  { arch }: FilterPolicy,
): readonly (readonly [call: string, args: readonly bigint[]])[] {
  return [
    ['landlock_restrict_self', [BigInt(rulesetFd(epoch)), 0n]],
    ['seccomp', [constantValue(arch, 'SECCOMP_SET_MODE_FILTER') ?? 1n, 0n, 0x7f00_0000_0000n]],
  ];
}

/** The first stage allows most, so it tells. */
function checkWayRound({ name, requires }: ResolvedStage, [first]: readonly ResolvedStage[], wrong: Wrong): void {
  if (first === undefined) return;
  const adds = letThrough(first.filter, 'landlock_add_rule');
  if (adds !== undefined)
    wrong(
      `stage ${first.name} lets landlock_add_rule through, which could widen the files of stage ${name}: refuse it`,
      adds ?? undefined,
    );
  const rings = letThrough(first.filter, 'io_uring_setup');
  if (rings !== undefined && requires?.noFds.some(({ kind }) => kind === 'io_uring') !== true)
    wrong(
      `stage ${first.name} lets io_uring_setup through, and a ring goes on opening the files that stage ${name} takes away: refuse it, or let the stage require that there are no rings (requires: no-fds: [io_uring])`,
      rings ?? undefined,
    );
}

/** Where a call is let through with some arguments; null where that is the default. */
function letThrough({ syscalls, otherwise }: FilterPolicy, name: string): Source | null | undefined {
  const entry = syscalls.find((each) => each.name === name);
  const rule = entry?.rules.find(({ action }) => letsThrough(action));
  if (rule !== undefined) return rule.source;
  if (!letsThrough(entry?.otherwise ?? otherwise)) return undefined;
  return entry?.otherwiseRule?.source ?? null;
}
