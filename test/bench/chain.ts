// SPDX-License-Identifier: Apache-2.0
// A stack of filters beside the one filter that would decide as it does.

import { type CallCounts, compileFilter, expectedInstructions } from '../../core/compiler/index.ts';
import { supervise } from '../../core/policy/supervise.ts';
import type { Arch, FilterPolicy, ResolvedProfile } from '../../core/policy/types.ts';

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

/** One filter that decides alone what a stage says: the profile's stage in full, with the calls that the supervisor answers as notifications. */
export function singleFilter(
  profile: ResolvedProfile,
  epoch: number,
  counts: CallCounts,
  uncached: ReadonlySet<number>,
): { readonly policy: FilterPolicy; readonly program: Uint8Array } {
  const policy = profile.stages[epoch]?.filter;
  if (policy === undefined) throw new RangeError(`profile ${profile.name} has no stage ${epoch}`);
  return { policy, program: compileFilter(policy, { counts, uncached }).program };
}

/** What a stage's program must say when it is not compiled to what it changes. */
export function supervisedStage(profile: ResolvedProfile, epoch: number): FilterPolicy {
  const stage = supervise(profile).stages[epoch];
  if (stage === undefined) throw new RangeError(`profile ${profile.name} has no stage ${epoch}`);
  return stage.filter;
}
