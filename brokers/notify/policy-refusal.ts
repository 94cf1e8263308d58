// SPDX-License-Identifier: Apache-2.0
// Calls that the stage's filter policy refuses, on their registers alone.
import { explainRefusal } from '../../core/policy/explain-refusal.ts';
import type { ThreadVerdict } from '../../core/policy/thread-verdict.ts';
import type { SyscallCall } from '../../core/policy/types.ts';
import type { Refusal } from '../reporter.ts';
import { type Call, refuseCall, reportRefusal } from './judged-call.ts';

export interface PolicyRefusal {
  readonly verdict: ThreadVerdict;
  readonly errno: number;
}

export function refuseByPolicy(call: Call, { verdict, errno }: PolicyRefusal): void {
  // An errno of 0 is a call that pretends to have worked.
  if (errno === 0) call.caller.answerValue(0n);
  else refuseCall(call, { errno, rule: verdict.rule, ...explained(call, verdict) });
}

/** In soak: the kernel goes on with the call, and what it would have been refused for is told. The verdict rests on registers, so this is CONTINUE's legal use. */
export function permitInSoak(call: Call, { verdict, errno }: PolicyRefusal): void {
  const refusal = { errno, rule: verdict.rule, ...explained(call, verdict) };
  reportRefusal(call, refusal, 'permitted', () => call.caller.answerContinue());
}

/** In soak: what a role would refuse is told, and the call has its answer still to come. */
export function reportInSoak(call: Call, { verdict, errno }: PolicyRefusal): void {
  const refusal = { errno, rule: verdict.rule, ...explained(call, verdict) };
  reportRefusal(call, refusal, 'permitted', () => true);
}

function explained(call: Call, verdict: ThreadVerdict): ReturnType<typeof explainRefusal> & Pick<Refusal, 'role'> {
  const { stages } = call.broker;
  const { nr, auditArch, args } = call.caller.notification;
  const made: SyscallCall = { nr, auditArch, args };
  return {
    ...explainRefusal(stages.profile, stages.epoch, { call: made, syscall: call.syscall, verdict }),
    role: verdict.role,
  };
}
