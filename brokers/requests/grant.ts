// SPDX-License-Identifier: Apache-2.0
import { clip, type Request } from '../../core/broker/protocol.ts';
import { checkTarget } from '../../core/policy/broker-rules.ts';
import { ceilingOf } from '../../core/policy/grants.ts';
import type { Broker } from '../broker.ts';
import { errno } from '../linux.ts';
import { parseOrFail } from './judged.ts';
import { failed, ok, type Reply } from './reply.ts';

/**
 * A grant while the VM runs. Every stage that it is to hold in must let it be granted, this one and later ones: so no grant widens a stage beyond what its
 * profile says.
 */
export function grantRequest(broker: Broker, request: Extract<Request, { type: 'grant' }>, reply: Reply): void {
  const startedMs = performance.now();
  const { stages, grants, reporter } = broker;
  const { target, uses, forMs, throughEpoch, until } = request;
  const readable = parseOrFail(() => {
    checkTarget(request.request, target);
    return true;
  }, reply);
  if (readable === undefined) return;
  if (throughEpoch < stages.epoch || throughEpoch >= stages.count) {
    reply({
      class: 'stage',
      what: `stage ${throughEpoch} is not this one or a later one`,
      next: `name a stage from ${stages.epoch} to ${stages.count - 1}`,
    });
    return;
  }
  const closed = stages.profile.stages
    .slice(stages.epoch, throughEpoch + 1)
    .find((stage) => ceilingOf(stage, request.request, target) === undefined);
  if (closed !== undefined) {
    const fix = `${request.request}: [{ may-grant: [${JSON.stringify(target)}], why: "..." }]`;
    const what = `stage ${closed.name} lets nobody grant it`;
    reporter.refusal({
      asker: broker.asker,
      stage: stages.current.stage.name,
      syscall: 'grant',
      args: { request: request.request, target, note: what },
      errno: errno.EACCES,
      rule: undefined,
      fix,
      startedMs,
    });
    reply({ class: 'denied', what, errno: errno.EACCES, rule: null, fix: clip(fix) });
    return;
  }
  if (grants.full) {
    reply({ class: 'busy', what: 'too many grants are in force', next: 'revoke one' });
    return;
  }
  const id = grants.add({ request: request.request, target, uses, forMs, throughEpoch, until });
  const added = grants.list().find((grant) => grant.id === id);
  if (added !== undefined) reporter.grantChanged(stages.current.stage.name, added, 'added');
  ok(reply, { grant: id });
}

/** From the answer on it permits nothing, and what was begun under it and not ended was taken back. What it gave stays given. */
export function revokeRequest(broker: Broker, request: Extract<Request, { type: 'revoke' }>, reply: Reply): void {
  if (broker.grants.revoke(request.grant)) ok(reply);
  else failed(reply, `there is no grant ${request.grant}`, errno.ENOENT, 'it was revoked, or ended by itself');
}
