// SPDX-License-Identifier: Apache-2.0
import type { Request } from '../../core/broker/protocol.ts';
import type { Broker } from '../broker.ts';
import { ok, type Reply } from './reply.ts';

/**
 * Moves to a later stage. What waits for the network is judged again by the new rules before the answer leaves. What the broker then takes from itself comes
 * after it: the VMM's filters need not wait for that, and the next request is not served before. A broker that could not is one that must end.
 */
export function stageRequest(broker: Broker, request: Extract<Request, { type: 'stage' }>, reply: Reply): void {
  const { stages, own, grants, pending, running, reporter } = broker;
  if (!stages.move(request.epoch)) {
    reply({
      class: 'stage',
      what: `stage ${request.epoch} cannot follow stage ${stages.epoch}`,
      next: `stages only go forward, up to ${stages.count - 1}`,
    });
    return;
  }
  broker.flows.clear();
  broker.journal.epoch = stages.epoch;
  grants.enterEpoch(stages.epoch);
  pending.recheckAll();
  running.recheckAll();
  ok(reply);
  reporter.stage(stages.current.stage.name, stages.epoch);
  if (!stages.grantsNothingMore) return;
  try {
    own.seal();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
