// SPDX-License-Identifier: Apache-2.0
import { clip } from '../../core/broker/protocol.ts';
import type { Session } from '../serve.ts';
import { ok, type Reply } from './reply.ts';

/** What fits a reply. */
const maxGrantBytes = 24_000;

export function statusRequest({ broker, listenerState }: Session, reply: Reply): void {
  const { stages, reporter, pending } = broker;
  const { stage } = stages.current;
  const granting = stage.broker.filter(({ refuseErrno }) => refuseErrno === undefined);
  let bytes = 0;
  const grants = granting
    .map(({ request, target, why, source }) => ({
      request,
      target,
      why: clip(why, 200),
      file: source.file,
      line: source.line,
    }))
    .filter((grant) => {
      bytes += Buffer.byteLength(JSON.stringify(grant));
      return bytes <= maxGrantBytes;
    });
  ok(reply, {
    status: {
      pid: process.pid,
      stage: stage.name,
      epoch: stages.epoch,
      allowed: reporter.allowed,
      denied: reporter.denied,
      grants,
      grantsLeftOut: granting.length - grants.length,
      listener: listenerState(),
      pending: pending.size,
    },
  });
}
