// SPDX-License-Identifier: Apache-2.0
import type { Request } from '../../core/broker/protocol.ts';
import { parseAddress } from '../../core/policy/address/index.ts';
import type { Broker } from '../broker.ts';
import { errno } from '../linux.ts';
import { parseOrFail } from './judged.ts';
import { failed, ok, type Reply } from './reply.ts';

/** The file of a unix socket that was bound for this VM goes, before the VM does. It takes something away, so no rule is asked; nothing else is ever removed. */
export function releaseRequest(broker: Broker, request: Extract<Request, { type: 'release' }>, reply: Reply): void {
  const startedMs = performance.now();
  const address = parseOrFail(() => parseAddress(request.address), reply);
  if (address === undefined) return;
  const outcome = address.kind === 'unix' ? broker.bound.remove(address.path) : 'missing';
  if (outcome === 'removed') ok(reply);
  else if (outcome === 'missing') failed(reply, 'there is no such socket', errno.ENOENT);
  else {
    broker.reporter.refusal({
      asker: broker.asker,
      stage: broker.stages.current.stage.name,
      syscall: 'release',
      args: { address: request.address },
      errno: errno.EACCES,
      rule: undefined,
      fix: null,
      startedMs,
    });
    reply({
      class: 'denied',
      what: 'only sockets that were bound for this VM are removed',
      errno: errno.EACCES,
      rule: null,
      fix: null,
    });
  }
}
