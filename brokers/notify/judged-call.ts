// SPDX-License-Identifier: Apache-2.0
import type { OwnedFd } from '../../core/owned-fd.ts';
import type { BrokerRule } from '../../core/policy/types.ts';
import type { Permit } from '../authority.ts';
import type { Broker } from '../broker.ts';
import { targetText, type Wish, wishArguments } from '../judge.ts';
import type { Refusal } from '../reporter.ts';
import type { Caller } from './caller.ts';

/** What a handler knows about a call. */
export interface Call {
  readonly broker: Broker;
  readonly caller: Caller;
  readonly syscall: string;
  /** Registers by name, for reports. */
  readonly args: () => Readonly<Record<string, string | number>>;
}

/** Answers the call with an errno and reports the refusal. */
export function refuseCall(
  call: Call,
  refusal: Pick<Refusal, 'errno' | 'rule' | 'fix'> & { readonly args?: Refusal['args'] },
): void {
  const { broker, caller, syscall } = call;
  // Described while the thread still waits: afterwards its name may be another's.
  const asker = caller.describe();
  caller.answerErrno(refusal.errno);
  broker.reporter.refusal({
    asker,
    stage: broker.stages.current.stage.name,
    syscall,
    args: { ...call.args(), ...refusal.args },
    errno: refusal.errno,
    rule: refusal.rule,
    fix: refusal.fix,
    startedMs: caller.startedMs,
  });
}

/**
 * Judges the VMM's wish by the current stage; answers and reports a refusal itself. The permit, or undefined. Our copy of the VMM's socket is closed
 * before a refusal is answered: when the VMM closes its own then, the socket is gone.
 */
export function judgeCall(call: Call, wish: Wish, socket?: OwnedFd): Permit | undefined {
  const judgement = call.broker.authority.permit(wish);
  if (judgement.granted) return judgement;
  socket?.close();
  const { errno, rule, fix } = judgement;
  refuseCall(call, { errno, rule, fix, args: wishArguments(wish) });
  return undefined;
}

/** Answers a granted call with 0 or the kernel's errno, and reports it. */
export function finishCall(call: Call, wish: Wish, rule: BrokerRule, result: number): void {
  const asker = call.caller.describe();
  if (result === 0) call.caller.answerValue(0n);
  else call.caller.answerErrno(result);
  reportGrantedCall(call, wish, rule, { asker, errno: result });
}

export function reportGrantedCall(
  call: Call,
  wish: Wish,
  rule: BrokerRule,
  outcome: { readonly asker: Refusal['asker']; readonly errno: number },
): void {
  call.broker.reporter.granted({
    asker: outcome.asker,
    stage: call.broker.stages.current.stage.name,
    request: wish.request,
    target: targetText(wish),
    errno: outcome.errno,
    rule,
    startedMs: call.caller.startedMs,
  });
}
