// SPDX-License-Identifier: Apache-2.0
import type { OwnedFd } from '../../core/owned-fd.ts';
import type { BrokerRule } from '../../core/policy/types.ts';
import type { Door } from '../../native/index.ts';
import type { Permit } from '../authority.ts';
import type { Broker } from '../broker.ts';
import { grantedBefore, targetText, type Wish, wishArguments } from '../judge.ts';
import { sigkill } from '../linux.ts';
import { type Asker, launcherAsks, type Refusal } from '../reporter.ts';
import type { Caller } from './caller.ts';

/** What a handler knows about a call. */
export interface Call {
  readonly broker: Broker;
  readonly caller: Caller;
  /** Where it came in. */
  readonly door: Door;
  readonly syscall: string;
  /** Registers by name, for reports. */
  readonly args: () => Readonly<Record<string, string | number>>;
}

type Reason = Pick<Refusal, 'errno' | 'rule' | 'fix'> & {
  readonly role?: Refusal['role'];
  readonly allowedIn?: Refusal['allowedIn'];
  readonly args?: Refusal['args'];
};

/** Answers the call with an errno and reports the refusal; kills the VMM when that was one too many. */
export function refuseCall(call: Call, refusal: Reason): void {
  const { broker, caller } = call;
  const { stage } = broker.stages.current;
  reportRefusal(call, refusal, stage.soak === true ? 'enforced' : undefined, () => {
    if (!broker.patience.spend()) return caller.answerErrno(refusal.errno);
    broker.reporter.violation(stage.name, caller.describe(), broker.patience.words);
    caller.kill(sigkill);
    return false;
  });
}

/** Tells of a call that the policy refuses, and answers it meanwhile. */
export function reportRefusal(call: Call, refusal: Reason, soak: Refusal['soak'], answer: () => boolean): void {
  const { broker, caller, syscall } = call;
  const { stage } = broker.stages.current;
  // Described while the thread still waits: afterwards its name and its memory may be another's. A flood is only counted.
  const told = broker.reporter.hasRoomForRefusal;
  const asker = told ? caller.describe() : nobody;
  const args = told ? { ...call.args(), ...refusal.args } : {};
  answer();
  const { nr, args: registers } = caller.notification;
  broker.reporter.refusal({
    asker,
    stage: stage.name,
    syscall,
    args,
    errno: refusal.errno,
    rule: refusal.rule,
    fix: refusal.fix,
    role: refusal.role,
    allowedIn: refusal.allowedIn ?? null,
    soak,
    call: { nr, registers: registers.map((register) => register.toString(16).padStart(16, '0')) },
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
  refuseCall(call, { errno, rule, fix, allowedIn: grantedBefore(call.broker.stages, wish), args: wishArguments(wish) });
  return undefined;
}

/** Judges without using up any grant: for calls that give nothing out. The granting rule, or undefined when the call was refused. */
export function judgeOnly(call: Call, wish: Wish): BrokerRule | undefined {
  const judgement = call.broker.authority.judge(wish);
  if (judgement.granted) return judgement.rule;
  const { errno, rule, fix } = judgement;
  refuseCall(call, { errno, rule, fix, args: wishArguments(wish) });
  return undefined;
}

/** Answers a granted call with 0 or the kernel's errno, and reports it. */
export function finishCall(call: Call, wish: Wish, rule: BrokerRule, result: number): void {
  const asker = describeAsker(call);
  if (result === 0) call.caller.answerValue(0n);
  else call.caller.answerErrno(result);
  reportGrantedCall(call, wish, rule, { asker, errno: result });
}

/** For a grant, before it is answered. A flood is only counted, and then nobody need be looked up. */
export function describeAsker({ broker, caller }: Call): Asker {
  return broker.reporter.hasRoomForGrant ? caller.describe() : nobody;
}

const nobody: Asker = { ...launcherAsks, door: 'vmm' };

export function reportGrantedCall(
  call: Call,
  wish: Wish,
  rule: BrokerRule,
  outcome: { readonly asker: Refusal['asker']; readonly errno: number; readonly request?: string },
): void {
  call.broker.reporter.granted({
    asker: outcome.asker,
    stage: call.broker.stages.current.stage.name,
    request: outcome.request ?? wish.request,
    target: targetText(wish),
    errno: outcome.errno,
    rule,
    startedMs: call.caller.startedMs,
  });
}
