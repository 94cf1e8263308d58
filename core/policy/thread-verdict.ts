// SPDX-License-Identifier: Apache-2.0
import { isRefusal, sameAnswer } from './actions.ts';
import { evaluate } from './evaluate.ts';
import type { ResolvedStage, SyscallCall, Verdict } from './types.ts';

/** A decision, and the role whose rules made it where the stage's own are different. */
export interface ThreadVerdict extends Verdict {
  readonly role?: string | undefined;
}

/**
 * The decision on one call of one thread. `rolesOf` is asked only where roles matter: none, its role, or those that it may have, and then it is refused what one
 * of them is refused.
 */
export function judgeThread(stage: ResolvedStage, call: SyscallCall, rolesOf: () => readonly string[]): ThreadVerdict {
  const own = evaluate(stage.filter, call);
  const differing = Object.entries(stage.roles)
    .map(([role, policy]): ThreadVerdict => ({ ...evaluate(policy, call), role }))
    .filter(({ action }) => !sameAnswer(action, own.action));
  if (differing.length === 0) return own;
  const roles = rolesOf();
  const possible = differing.filter(({ role }) => role !== undefined && roles.includes(role));
  const refusal = possible.find(({ action }) => isRefusal(action));
  return refusal ?? possible.find(({ action }) => action.kind === 'broker') ?? possible[0] ?? own;
}
