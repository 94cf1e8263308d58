// SPDX-License-Identifier: Apache-2.0
import { clip } from '../../core/broker/protocol.ts';
import { RatchetError } from '../../core/errors.ts';
import type { BrokerRule } from '../../core/policy/types.ts';
import type { Broker } from '../broker.ts';
import { judge, targetText, type Wish, wishArguments } from '../judge.ts';
import { errno } from '../linux.ts';
import { launcherAsks } from '../reporter.ts';
import { failed, type Reply } from './reply.ts';

/** Judges the launcher's wish; answers and reports a refusal itself. The granting rule, or undefined. */
export function judgeRequest(broker: Broker, wish: Wish, startedMs: number, reply: Reply): BrokerRule | undefined {
  const { stage, rules } = broker.stages.current;
  const judgement = judge(rules, wish);
  if (judgement.granted) return judgement.rule;
  const { rule, fix } = judgement;
  broker.reporter.refusal({
    asker: launcherAsks,
    stage: stage.name,
    syscall: wish.request,
    args: wishArguments(wish),
    errno: judgement.errno,
    rule,
    fix,
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
    asker: launcherAsks,
    stage: broker.stages.current.stage.name,
    request: wish.request,
    target: targetText(wish),
    rule,
    ...outcome,
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
