// SPDX-License-Identifier: Apache-2.0
// Proof, on the policy, that stages only take away: no call that a stage refuses is permitted by a later one, none that it leaves to the broker is
// permitted outright, a role permits no more than its stage, and the broker grants no more than before.

import { formatAction } from '../policy/actions.ts';
import { findBrokerLoosenings } from '../policy/broker-tightening.ts';
import { evaluate } from '../policy/evaluate.ts';
import type { FilterPolicy, ResolvedProfile, Source, SyscallCall } from '../policy/types.ts';
import { actionOnly, permits, returnValue } from '../simulator/action.ts';
import { auditArch } from '../simulator/call-data.ts';
import { syscallName } from '../tables/index.ts';
import { describeCall } from './describe-call.ts';
import { type Diagram, Diagrams, never } from './diagram.ts';
import { ofArch, rangesByNumber } from './number-ranges.ts';
import { policyDiagram } from './policy-diagram.ts';
import { findDifference } from './words.ts';

/** A place where a stage or role permits more than it may. */
export interface TighteningProblem extends Source {
  readonly code: 'stage-loosens' | 'role-loosens' | 'broker-loosens';
  readonly message: string;
}

/** Everything that is not a tightening, one problem a syscall and pair of policies; empty when the profile only tightens. */
export function proveTightening(profile: ResolvedProfile, diagrams = new Diagrams()): readonly TighteningProblem[] {
  const meaning = (policy: FilterPolicy): Diagram => policyDiagram(diagrams, policy);
  const problems: TighteningProblem[] = [];
  const compare = (comparison: Comparison): void => {
    const bad = diagrams.combine(loosens, meaning(comparison.before), meaning(comparison.after));
    for (const call of exampleCalls(diagrams, bad, comparison.after))
      problems.push(problemOf(comparison, call, profile.file));
  };

  profile.stages.forEach((stage, index) => {
    const earlier = profile.stages[index - 1];
    const name = `stage ${stage.name}`;
    if (earlier !== undefined) {
      compare({
        before: earlier.filter,
        beforeName: `stage ${earlier.name}`,
        after: stage.filter,
        afterName: name,
        code: 'stage-loosens',
      });
    }
    for (const [roleName, role] of Object.entries(stage.roles)) {
      const afterName = `role ${roleName} of ${name}`;
      compare({
        before: stage.filter,
        beforeName: name,
        after: role,
        afterName,
        code: 'role-loosens',
      });
      const sameRole = earlier?.roles[roleName];
      if (earlier !== undefined && sameRole !== undefined) {
        compare({
          before: sameRole,
          beforeName: `role ${roleName} of stage ${earlier.name}`,
          after: role,
          afterName,
          code: 'stage-loosens',
        });
      }
    }
  });
  return [...problems, ...findBrokerLoosenings(profile)];
}

interface Comparison {
  readonly before: FilterPolicy;
  readonly beforeName: string;
  readonly after: FilterPolicy;
  readonly afterName: string;
  readonly code: TighteningProblem['code'];
}

/** allow, log and trace (where a tracer decides) before broker, and that before every refusal. */
export function isLooser(before: number, after: number): boolean {
  return rank(after) > rank(before);
}

function loosens(before: number, after: number): 0 | 1 {
  return isLooser(before, after) ? 1 : 0;
}

function rank(value: number): number {
  if (permits(value) || actionOnly(value) === returnValue.trace) return 2;
  return value === returnValue.userNotification ? 1 : 0;
}

/** A call for each number, or run of numbers, on which a condition can hold. */
function exampleCalls(diagrams: Diagrams, bad: Diagram, policy: FilterPolicy): SyscallCall[] {
  if (bad === never) return [];
  const calls = rangesByNumber(diagrams, ofArch(diagrams, bad, policy.arch)).flatMap(({ from, decision }) => {
    const found = findDifference(diagrams, decision, never);
    return found === undefined ? [] : [{ ...found.call, nr: from, auditArch: auditArch[policy.arch] }];
  });
  const anywhere = findDifference(diagrams, bad, never);
  return calls.length > 0 || anywhere === undefined ? calls : [anywhere.call];
}

function problemOf(
  { before, beforeName, after, afterName, code }: Comparison,
  call: SyscallCall,
  file: string,
): TighteningProblem {
  const earlier = evaluate(before, call);
  const later = evaluate(after, call);
  const place = later.rule?.source ?? later.syscall?.rules[0]?.source ?? { file, line: 1, column: 1 };
  const by = (verdict: typeof earlier): string =>
    verdict.rule === undefined ? 'by default' : `at ${verdict.rule.source.file}:${verdict.rule.source.line}`;
  const text = describeCall(call, after.arch, (nr) => syscallName(after.arch, nr));
  const message = `${afterName} answers ${formatAction(later.action)} to ${text} (${by(later)}), which ${beforeName} answers with ${formatAction(earlier.action)} (${by(earlier)})`;
  return { file: place.file, line: place.line, column: place.column, code, message };
}
