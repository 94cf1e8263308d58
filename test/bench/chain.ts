// SPDX-License-Identifier: Apache-2.0
// Start and running as they are installed, beside the one filter that would decide as they do.

import { type CallCounts, compileFilter, compileProfile, expectedInstructions } from '../../core/compiler/index.ts';
import { supervise } from '../../core/policy/supervise.ts';
import type { Arch, ResolvedProfile } from '../../core/policy/types.ts';
import { chainDiagram } from '../../core/verifier/chain.ts';
import { Diagrams } from '../../core/verifier/diagram.ts';
import { verifyFilter } from '../../core/verifier/index.ts';
import { policyDiagram } from '../../core/verifier/policy-diagram.ts';
import { leastInstructions } from './bound/least-instructions.ts';
import { atMost, exact, type Figure } from './figure.ts';
import type { Recording } from './recordings.ts';
import { uncachedBy } from './uncached.ts';

/** The first two stages of a profile, for each recording. */
export function benchChain(profile: ResolvedProfile, recorded: readonly Recording[]): readonly Figure[] {
  const arch: Arch = 'x86_64';
  const later = profile.stages[1]?.filter;
  const supervised = supervise(profile).stages[1]?.filter;
  if (later === undefined || supervised === undefined) throw new RangeError(`${profile.name} has one stage`);
  return recorded.flatMap(({ name, stageCounts, ...recording }) => {
    const { stages } = compileProfile(profile, { ...recording, stageCounts });
    // Both filters run from the second stage on only.
    const counts = stageCounts[profile.stages[1]?.name ?? ''] ?? recording.counts;
    const programs = stages.slice(0, 2).map(({ program }) => program);
    const uncached = uncachedBy(programs, arch);
    const cost = (programs: readonly Uint8Array[]): number => chainCost(programs, arch, counts, uncached);
    // Decides alone what the stage says, with the calls that the supervisor answers as notifications.
    const single = compileFilter(later, { counts, uncached }).program;
    verifyFilter(single, later);
    const inFull = compileFilter(supervised, { counts, uncached }).program;
    const both = cost(programs);
    const one = cost([single]);

    const diagrams = new Diagrams();
    const first = chainDiagram(diagrams, programs.slice(0, 1));
    const least = (goal: number, installed: number | undefined): number =>
      leastInstructions({ diagrams, arch, goal, installed }, counts, uncached);
    const leastBoth = least(first, undefined) + least(chainDiagram(diagrams, programs), first);
    const leastOne = least(policyDiagram(diagrams, later), undefined);

    const unit = 'instructions/call';
    const figure = (what: string, value: number, against: string, other: number, limit?: number): Figure =>
      exact(`${what}, ${name}`, unit, value, {
        against: { name: against, value: other },
        ...(limit === undefined ? {} : { goal: atMost(limit, value / other) }),
      });
    return [
      figure('start and running', both, 'one filter for running', one, 1.4),
      figure('least of any two filters', leastBoth, 'least of any one', leastOne),
      figure('start and running', both, 'least of any two filters', leastBoth),
      figure('start and running', both, 'the same with running in full', cost([...programs.slice(0, 1), inFull])),
    ];
  });
}

/** Instructions of all programs together: the kernel runs the whole stack for a call that one of them keeps out of its bitmap. */
function chainCost(
  programs: readonly Uint8Array[],
  arch: Arch,
  counts: CallCounts,
  uncached: ReadonlySet<number>,
): number {
  return programs
    .map((program) => expectedInstructions(program, arch, counts, (nr) => uncached.has(nr)))
    .reduce((sum, cost) => sum + cost, 0);
}
