// SPDX-License-Identifier: Apache-2.0
import type { Request } from '../../core/broker/protocol.ts';
import { parseAddress } from '../../core/policy/address/index.ts';
import type { Broker } from '../broker.ts';
import { dial } from '../dial.ts';
import { familyOf } from '../families.ts';
import { followLinks, unixPath } from '../links.ts';
import { errno } from '../linux.ts';
import { setNonBlocking } from '../non-blocking.ts';
import { judgeRequest, parseOrFail, replyWithdrawn, reportGranted, sendGranted } from './judged.ts';
import { makeSocket } from './make-socket.ts';
import { failed, type Reply } from './reply.ts';

/** A connected socket, blocking, in the reply. */
export function connectRequest(broker: Broker, request: Extract<Request, { type: 'connect' }>, reply: Reply): void {
  const startedMs = performance.now();
  const address = parseOrFail(() => parseAddress(request.address), reply);
  if (address === undefined) return;
  const wish = { request: 'connect', address } as const;
  const permit = judgeRequest(broker, wish, startedMs, reply);
  if (permit === undefined) return;
  const family = familyOf(address);
  const socket = makeSocket(address, request, reply);
  if (socket === undefined) return;
  let settled = false;
  // Filled in below, unless the connection is made at once.
  let forget: () => void = () => undefined;
  const end = (): boolean => {
    if (settled) return false;
    settled = true;
    forget();
    return true;
  };
  const done = (result: number): void => {
    if (!end()) return;
    reportGranted(broker, wish, permit.rule, { errno: result, startedMs });
    if (result !== 0) {
      socket.close();
      if (!permit.holds()) replyWithdrawn(broker, reply);
      else if (result === errno.ETIMEDOUT)
        reply({ class: 'timeout', what: 'the connection did not come about in time' });
      else failed(reply, 'connect failed', result);
      return;
    }
    setNonBlocking(socket.fd, false);
    sendGranted(broker, permit, reply, {}, socket);
  };
  const dialing = dial({
    fd: socket,
    address,
    family,
    blocking: true,
    timeoutMs: request.timeoutMs,
    backlogWaitMs: request.timeoutMs,
    permitted: permit.holds,
    follow: () => unixPath(followLinks(broker.authority, wish)?.address),
    done,
  });
  if (settled) return;
  const abandon = (): void => {
    if (!end()) return;
    dialing.cancel();
    socket.close();
  };
  forget = broker.pending.add({
    wanted: () => true,
    recheck: () => {
      if (settled || permit.holds()) return;
      abandon();
      replyWithdrawn(broker, reply);
    },
    abandon,
  });
}
