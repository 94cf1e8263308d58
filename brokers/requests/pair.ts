// SPDX-License-Identifier: Apache-2.0
import type { Request } from '../../core/broker/protocol.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import { native } from '../../native/index.ts';
import type { Broker } from '../broker.ts';
import { attempt } from '../native-errno.ts';
import { setNonBlocking } from '../non-blocking.ts';
import { judgeRequest, reportGranted, sendGranted } from './judged.ts';
import { failed, type Reply } from './reply.ts';

/** Two unix sockets that are connected to each other, both blocking: one for the VMM, one for who serves it. */
export function pairRequest(broker: Broker, request: Extract<Request, { type: 'pair' }>, reply: Reply): void {
  const startedMs = performance.now();
  const wish = { request: 'pair', kind: request.kind } as const;
  const permit = judgeRequest(broker, wish, startedMs, reply);
  if (permit === undefined) return;
  let fds: readonly OwnedFd[] = [];
  const result = attempt(() => {
    fds = native.socketPair({ type: request.kind }).map((fd) => new OwnedFd(fd));
    for (const { fd } of fds) setNonBlocking(fd, false);
  });
  reportGranted(broker, wish, permit.rule, { errno: result, startedMs });
  if (result === 0) sendGranted(broker, permit, reply, {}, ...fds);
  else failed(reply, 'the pair could not be made', result);
}
