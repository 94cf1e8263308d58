// SPDX-License-Identifier: Apache-2.0
// What can be said of a refused call from the profile alone: which earlier stage permitted it, and which line would permit it now.

import { letsThrough } from './actions.ts';
import { selectingCondition } from './describe-call.ts';
import { evaluate } from './evaluate.ts';
import { formatSource } from './problem.ts';
import type { ThreadVerdict } from './thread-verdict.ts';
import type { FilterPolicy, ResolvedProfile, ResolvedStage, SyscallCall, Verdict } from './types.ts';

export interface Explanation {
  /** The last earlier stage that let the call through, or asked its broker; null when none did. */
  readonly allowedIn: string | null;
  /** What to write, and in which stages. */
  readonly fix: string;
}

/** `verdict` is that of the stage at `epoch`, or of a role in it, which refuses the call. */
export function explainRefusal(
  profile: ResolvedProfile,
  epoch: number,
  { call, syscall, verdict }: { readonly call: SyscallCall; readonly syscall: string; readonly verdict: ThreadVerdict },
): Explanation {
  const { role } = verdict;
  const upToNow = profile.stages.slice(0, epoch + 1);
  const refusing = upToNow.filter((stage) => !reaches(evaluate(policyOf(stage, role), call)));
  const permitting = upToNow.filter((stage) => !refusing.includes(stage));
  const when = selectingCondition(profile.arch, syscall, call.args);
  const rule = `syscalls: [{ allow: [${syscall}], ${when === undefined ? '' : `when: ${JSON.stringify(when)}, `}why: "..." }]`;
  const where = refusing.map((stage) => placeOf(stage, role, call));
  const stages = `${where.length === 1 ? 'stage' : 'stages'} ${where.join(', ')}`;
  return { allowedIn: permitting.at(-1)?.name ?? null, fix: `${stages}: ${inPlaceOf(verdict)}${rule}` };
}

function policyOf(stage: ResolvedStage, role: string | undefined): FilterPolicy {
  return (role === undefined ? undefined : stage.roles[role]) ?? stage.filter;
}

/** The stage, or its role where only that stands in the way. */
function placeOf({ name, filter, roles }: ResolvedStage, role: string | undefined, call: SyscallCall): string {
  const byRole = role !== undefined && roles[role] !== undefined && reaches(evaluate(filter, call));
  return byRole ? `${name}, role ${role}` : name;
}

/** Two rules that hold for the same call contradict each other: one that names the call has to go. */
function inPlaceOf({ rule, syscall }: Verdict): string {
  if (rule === undefined || rule === syscall?.otherwiseRule) return '';
  return `in place of the rule at ${formatSource(rule.source)}: `;
}

function reaches({ action }: Verdict): boolean {
  return letsThrough(action) || action.kind === 'broker';
}
