// SPDX-License-Identifier: Apache-2.0
// A stack of filters beside the one filter that would decide as it does.

import { type CallCounts, compileFilter, expectedInstructions } from '../../core/compiler/index.ts';
import { supervise } from '../../core/policy/supervise.ts';
import type { Arch, FilterPolicy, ResolvedProfile } from '../../core/policy/types.ts';
import { encodeAction, returnValue } from '../../core/simulator/index.ts';

/** Instructions of all programs together: the kernel runs the whole stack for a call that one of them keeps out of its bitmap. */
export function chainCost(
  programs: readonly Uint8Array[],
  arch: Arch,
  counts: CallCounts,
  uncached: ReadonlySet<number>,
): number {
  return programs
    .map((program) => expectedInstructions(program, arch, counts, (nr) => uncached.has(nr)))
    .reduce((sum, cost) => sum + cost, 0);
}

interface SingleFilter {
  readonly policy: FilterPolicy;
  readonly program: Uint8Array;
}

/**
 * What a stack up to a stage keeps out of the bitmap, and one filter that decides alone what the stage says: the profile's stage in full,
 * with the calls that the supervisor answers as notifications.
 */
export function chainDecision(
  profile: ResolvedProfile,
  epoch: number,
  counts: CallCounts,
): { readonly uncached: ReadonlySet<number>; readonly single: SingleFilter } {
  const stages = supervise(profile).stages.slice(0, epoch + 1);
  const uncached = new Set<number>();
  for (const { filter } of stages)
    for (const { nr, rules, otherwise } of filter.syscalls)
      if (
        [otherwise, ...rules.map(({ action }) => action)].some((action) => encodeAction(action) !== returnValue.allow)
      )
        uncached.add(nr);
  const given = profile.stages[epoch]?.filter;
  if (given === undefined) throw new RangeError(`profile ${profile.name} has no stage ${epoch}`);
  return { uncached, single: { policy: given, program: compileFilter(given, { counts, uncached }).program } };
}

/** What a stage's program must say when it is not compiled to what it changes. */
export function supervisedStage(profile: ResolvedProfile, epoch: number): FilterPolicy {
  const stage = supervise(profile).stages[epoch];
  if (stage === undefined) throw new RangeError(`profile ${profile.name} has no stage ${epoch}`);
  return stage.filter;
}
