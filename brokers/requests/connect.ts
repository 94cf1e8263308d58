// SPDX-License-Identifier: Apache-2.0
import type { Request } from '../../core/broker/protocol.ts';
import { RatchetError } from '../../core/errors.ts';
import { type Address, parseAddress, parseNamedAddress } from '../../core/policy/address/index.ts';
import type { Broker } from '../broker.ts';
import { dial } from '../dial.ts';
import { familyOf } from '../families.ts';
import type { Frame } from '../frame.ts';
import { alongLinks } from '../links.ts';
import { errno } from '../linux.ts';
import { setNonBlocking } from '../non-blocking.ts';
import { judgeRequest, parseOrFail, replyWithdrawn, reportGranted, sendGranted } from './judged.ts';
import { makeSocket, typeOf } from './make-socket.ts';
import { failed, type Reply } from './reply.ts';

/** A connected socket, blocking, in the reply. */
export function connectRequest(
  broker: Broker,
  request: Extract<Request, { type: 'connect' }>,
  reply: Reply,
  frame: Frame,
): void {
  const startedMs = performance.now();
  const address = parseOrFail(() => addressOf(broker, request.address), reply);
  if (address === undefined) return;
  const wish = { request: 'connect', address } as const;
  const judged = judgeRequest(broker, wish, startedMs, reply);
  if (judged === undefined) return;
  const permit = alongLinks(broker.authority, wish, judged);
  const family = familyOf(address);
  const begun = frame.takeBegun();
  const socket = begun?.socket ?? makeSocket(address, request, reply);
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
    if (permit.lasts() && isPlain(request))
      frame.remember(broker, { request, address, family, type: typeOf(request), rule: permit.rule });
  };
  const dialing = dial({
    fd: socket,
    address,
    family,
    blocking: true,
    begun: begun?.errno,
    timeoutMs: request.timeoutMs,
    backlogWaitMs: request.timeoutMs,
    permitted: permit.holds,
    follow: permit.follow,
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

/** Whether the address is all that its socket is made by. A name may mean another address later. */
function isPlain({ address, keepAlive, interfaceIndex }: Extract<Request, { type: 'connect' }>): boolean {
  return keepAlive !== true && interfaceIndex === undefined && parseNamedAddress(address) === undefined;
}

/** A name leads to the first of its pinned addresses that is granted; to the first when none is, so that the refusal names one. */
function addressOf({ stages, authority }: Broker, text: string): Address {
  const named = parseNamedAddress(text);
  if (named === undefined) return parseAddress(text);
  const { host, port } = named;
  const found = (stages.profile.hosts?.[host] ?? []).map(
    (ip): Address => parseAddress(ip.includes(':') ? `tcp:[${ip}]:${port}` : `tcp:${ip}:${port}`),
  );
  const [first] = found;
  if (first === undefined)
    throw new RatchetError('ADDRESS_INVALID', `"${host}" is in no rule, so it was not looked up`, {
      next: 'write the IP address',
    });
  return found.find((address) => authority.judge({ request: 'connect', address }).granted) ?? first;
}
