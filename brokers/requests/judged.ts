// SPDX-License-Identifier: Apache-2.0

import type { OkValue } from '../../core/broker/protocol.ts';
import { clip } from '../../core/broker/protocol.ts';
import { RatchetError } from '../../core/errors.ts';
import type { OwnedFd } from '../../core/owned-fd.ts';
import type { BrokerRule } from '../../core/policy/types.ts';
import type { Permit } from '../authority.ts';
import type { Broker } from '../broker.ts';
import { grantedBefore, targetText, type Wish, wishArguments } from '../judge.ts';
import { errno } from '../linux.ts';
import { failed, ok, type Reply } from './reply.ts';

/** Judges the launcher's wish; answers and reports a refusal itself. The permit, or undefined. */
export function judgeRequest(broker: Broker, wish: Wish, startedMs: number, reply: Reply): Permit | undefined {
  const { stage } = broker.stages.current;
  const judgement = broker.authority.permit(wish);
  if (judgement.granted) return judgement;
  const { rule, fix } = judgement;
  broker.reporter.refusal({
    asker: broker.asker,
    stage: stage.name,
    syscall: wish.request,
    args: wishArguments(wish),
    errno: judgement.errno,
    rule,
    fix,
    allowedIn: grantedBefore(broker.stages, wish),
    startedMs,
  });
  reply({
    class: 'denied',
    what: `refused in stage ${stage.name}`,
    errno: judgement.errno,
    rule: rule === undefined ? null : { file: rule.source.file, line: rule.source.line, why: clip(rule.why) },
    fix: clip(fix),
  });
  return undefined;
}

/** Reports how a granted wish went. */
export function reportGranted(
  broker: Broker,
  wish: Wish,
  rule: BrokerRule,
  outcome: { readonly errno: number; readonly startedMs: number },
): void {
  broker.reporter.granted({
    asker: broker.asker,
    stage: broker.stages.current.stage.name,
    request: wish.request,
    target: targetText(wish),
    rule,
    ...outcome,
  });
}

/** Sends what was made, unless what permitted it has ended in between: then it is closed, and nobody gets it. */
export function sendGranted(
  broker: Broker,
  permit: Permit,
  reply: Reply,
  value: OkValue,
  ...fds: readonly OwnedFd[]
): void {
  if (permit.holds()) {
    ok(reply, value, ...fds);
    return;
  }
  for (const fd of fds) fd.close();
  replyWithdrawn(broker, reply);
}

export function replyWithdrawn(broker: Broker, reply: Reply): void {
  reply({
    class: 'stage',
    what: `what permitted it has ended meanwhile, in stage ${broker.stages.current.stage.name}`,
  });
}

/** What the launcher wrote, read by the grammar; a text that is none is answered EINVAL. */
export function parseOrFail<T>(parse: () => T, reply: Reply): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof RatchetError)) throw error;
    failed(reply, clip(error.message), errno.EINVAL);
    return undefined;
  }
}
