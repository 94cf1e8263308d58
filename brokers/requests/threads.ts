// SPDX-License-Identifier: Apache-2.0
import type { Request } from '../../core/broker/protocol.ts';
import type { Broker } from '../broker.ts';
import { ok, type Reply } from './reply.ts';

/** Which threads have which role. Stages judge by roles that they have rules for; another name is a thread without a role to them. */
export function threadsRequest(broker: Broker, request: Extract<Request, { type: 'threads' }>, reply: Reply): void {
  const threads = request.threads.map(([tid, started, role]) => ({ tid, started, role }));
  const least = request.least.map(([role, filters]) => ({ role, filters }));
  broker.flows.clear();
  broker.threads.learn(least, threads, request.startAnew);
  ok(reply);
}
