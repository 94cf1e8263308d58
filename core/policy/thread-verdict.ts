// SPDX-License-Identifier: Apache-2.0
import { isRefusal, sameAnswer } from './actions.ts';
import { evaluate } from './evaluate.ts';
import type { ResolvedStage, SyscallCall, Verdict } from './types.ts';

/** What is known of a thread's role: its name, `null` for none, `unknown` where it may be any. */
export type KnownRole = string | null | 'unknown';

/** A decision, and the role whose rules made it where the stage's own are different. */
export interface ThreadVerdict extends Verdict {
  readonly role?: string | undefined;
}

/** The decision on one call of one thread. `roleOf` is asked only where roles matter. A thread that may have any role is refused what one of them is refused. */
export function judgeThread(stage: ResolvedStage, call: SyscallCall, roleOf: () => KnownRole): ThreadVerdict {
  const own = evaluate(stage.filter, call);
  const differing = Object.entries(stage.roles)
    .map(([role, policy]): ThreadVerdict => ({ ...evaluate(policy, call), role }))
    .filter(({ action }) => !sameAnswer(action, own.action));
  if (differing.length === 0) return own;
  const known = roleOf();
  const verdict =
    known === 'unknown'
      ? (differing.find(({ action }) => isRefusal(action)) ?? differing.find(({ action }) => action.kind === 'broker'))
      : differing.find(({ role }) => role === known);
  return verdict ?? own;
}
