// SPDX-License-Identifier: Apache-2.0
import { type BrokerStatus, clip } from '../../core/broker/protocol.ts';
import type { Broker } from '../broker.ts';
import type { Session } from '../serve.ts';
import { ok, type Reply } from './reply.ts';

/** What fits a reply. */
const maxGrantBytes = 22_000;
const maxCeilingBytes = 6_000;

type GrantInForce = BrokerStatus['grants'][number];

export function statusRequest({ broker, listenerState }: Session, reply: Reply): void {
  const { stages, reporter, pending, running, flows } = broker;
  const { stage } = stages.current;
  // Those of the launcher first: they are the ones that change.
  const all = [...runtimeGrants(broker), ...profileGrants(broker)];
  const grants = firstThatFit(all, maxGrantBytes);
  const ceiling = stage.broker.filter(({ mayGrant }) => mayGrant === true);
  ok(reply, {
    status: {
      pid: process.pid,
      stage: stage.name,
      epoch: stages.epoch,
      allowed: reporter.allowed + flows.served,
      denied: reporter.denied,
      grants,
      grantsLeftOut: all.length - grants.length,
      mayGrant: firstThatFit(
        ceiling.map(({ request, target }) => ({ request, target })),
        maxCeilingBytes,
      ),
      listener: listenerState(),
      pending: pending.size,
      programs: running.list(),
    },
  });
}

function profileGrants({ stages }: Broker): readonly GrantInForce[] {
  return stages.current.stage.broker
    .filter(({ refuseErrno, mayGrant }) => refuseErrno === undefined && mayGrant !== true)
    .map(({ request, target, why, source }) => ({
      request,
      target,
      why: clip(why, 200),
      file: source.file,
      line: source.line,
    }));
}

function runtimeGrants({ stages, grants }: Broker): readonly GrantInForce[] {
  return grants.list().map(({ id, terms, parsed, usesLeft, leftMs }) => ({
    request: terms.request,
    target: terms.target,
    why: clip(parsed.rule.why, 200),
    file: parsed.rule.source.file,
    line: id,
    grant: id,
    throughStage: stages.profile.stages[terms.throughEpoch]?.name ?? '',
    ...(usesLeft === undefined ? {} : { usesLeft }),
    ...(leftMs === undefined ? {} : { leftMs }),
    ...(terms.until === undefined ? {} : { until: terms.until }),
  }));
}

function firstThatFit<T>(all: readonly T[], maxBytes: number): T[] {
  let bytes = 0;
  return all.filter((each) => {
    bytes += Buffer.byteLength(JSON.stringify(each));
    return bytes <= maxBytes;
  });
}
