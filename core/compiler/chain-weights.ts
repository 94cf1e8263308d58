// SPDX-License-Identifier: Apache-2.0
// What the filters of a profile are expected to run for. The kernel runs the whole chain of a thread for a number that one of its filters keeps out
// of the bitmap, so a stage's filter runs for what later stages and its roles look at too.

import type { SupervisedStage } from '../policy/supervise.ts';
import type { FilterPolicy } from '../policy/types.ts';
import { returnValue } from '../simulator/action.ts';
import type { Diagram, Diagrams } from '../verifier/diagram.ts';
import { numberRanges } from '../verifier/policy-diagram.ts';
import type { CompileOptions } from './target.ts';
import { isPermitting } from './target-weight.ts';
import type { CallCounts } from './weights.ts';

export interface ChainWeights {
  /** For the filter of a stage, which all threads have. */
  ofStage(stage: string): CompileOptions;
  /** For that of a role in a stage. */
  ofRole(stage: string, role: string): CompileOptions;
}

export function chainWeights(
  diagrams: Diagrams,
  stages: readonly SupervisedStage[],
  options: CompileOptions,
): ChainWeights {
  const always = (): boolean => true;
  const inStages = new Set<number>();
  const inRoles = new Map<string, Set<number>>();
  for (const { filter, roles } of stages) {
    addUncached(inStages, diagrams, filter, always);
    for (const [role, policy] of Object.entries(roles)) {
      const numbers = inRoles.get(role) ?? new Set();
      inRoles.set(role, numbers);
      // The threads of a role do not make the calls that it refuses.
      addUncached(numbers, diagrams, policy, (decision) => isPermitting(diagrams, decision));
    }
  }
  const inAny = new Set([...inStages, ...[...inRoles.values()].flatMap((numbers) => [...numbers])]);

  /** A number that only roles keep out of the bitmap counts as often as their threads call it. */
  const ofAllThreads = (counts: CallCounts): CallCounts => {
    const { roleCounts } = options;
    if (roleCounts === undefined) return counts;
    const calls = [...counts.calls].map(([nr, count]): [number, number] => {
      if (!inAny.has(nr) || inStages.has(nr)) return [nr, count];
      const byRole = [...inRoles].filter(([, numbers]) => numbers.has(nr));
      return [nr, byRole.reduce((sum, [role]) => sum + (roleCounts[role]?.calls.get(nr) ?? 0), 0)];
    });
    return { ...counts, calls: new Map(calls) };
  };
  const tuned = (counts: CallCounts | undefined, uncached: ReadonlySet<number>): CompileOptions => ({
    ...options,
    uncached: options.uncached ?? uncached,
    ...(counts === undefined ? {} : { counts }),
  });
  const countsOf = (stage: string): CallCounts | undefined => {
    const recorded = stages.slice(0, stages.findIndex(({ name }) => name === stage) + 1).reverse();
    return recorded.map(({ name }) => options.stageCounts?.[name]).find(Boolean) ?? options.counts;
  };
  return {
    ofStage(stage) {
      const counts = countsOf(stage);
      return tuned(counts === undefined ? undefined : ofAllThreads(counts), inAny);
    },
    ofRole: (stage, role) => tuned(options.roleCounts?.[role] ?? countsOf(stage), inAny),
  };
}

/** Adds the numbers that a filter does not allow whatever the arguments. */
function addUncached(
  numbers: Set<number>,
  diagrams: Diagrams,
  policy: FilterPolicy,
  matters: (decision: Diagram) => boolean,
): void {
  const allowed = diagrams.terminal(returnValue.allow);
  for (const { from, to, decision } of numberRanges(diagrams, policy))
    if (decision !== allowed && matters(decision))
      for (let nr = from; nr <= Math.min(to, policy.lastKnownNr); nr++) numbers.add(nr);
}
