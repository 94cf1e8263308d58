// SPDX-License-Identifier: Apache-2.0
import type { Request } from '../../core/broker/protocol.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import {
  type Address,
  addressToSockaddr,
  formatAddress,
  parseAddress,
  sockaddrToAddress,
} from '../../core/policy/address/index.ts';
import { native } from '../../native/index.ts';
import type { BoundFiles } from '../bound-files.ts';
import type { Broker } from '../broker.ts';
import type { Wish } from '../judge.ts';
import { errno, socketOption } from '../linux.ts';
import { attempt } from '../native-errno.ts';
import { setNonBlocking } from '../non-blocking.ts';
import { bindUnixPath } from '../unix-pin.ts';
import { judgeRequest, parseOrFail, reportGranted, sendGranted } from './judged.ts';
import { makeSocket } from './make-socket.ts';
import { failed, type Reply } from './reply.ts';

/** A bound socket, blocking; listening when a backlog was asked for. */
export function bindRequest(broker: Broker, request: Extract<Request, { type: 'bind' }>, reply: Reply): void {
  const startedMs = performance.now();
  const address = parseOrFail(() => parseAddress(request.address), reply);
  if (address === undefined) return;
  const wish: Wish = { request: 'bind', address };
  const permit = judgeRequest(broker, wish, startedMs, reply);
  if (permit === undefined) return;
  const made = makeSocket(address, request, reply);
  if (made === undefined) return;
  using socket = made;
  const result = address.kind === 'netlink' ? errno.EOPNOTSUPP : prepare(socket, address, request, broker.bound);
  reportGranted(broker, wish, permit.rule, { errno: result, startedMs });
  if (result !== 0) {
    failed(reply, 'bind failed', result);
    return;
  }
  const name = address.kind === 'unix' ? address : sockaddrToAddress(native.getSocketName({ fd: socket.fd }));
  sendGranted(broker, permit, reply, { address: formatAddress(name) }, new OwnedFd(socket.release()));
}

function prepare(
  { fd }: OwnedFd,
  address: Address,
  { backlog, reuseAddress = true }: Extract<Request, { type: 'bind' }>,
  bound: BoundFiles,
): number {
  return (
    attempt(() => {
      if (address.kind === 'tcp' && reuseAddress)
        native.setSocketOption({ fd, ...socketOption.reuseAddress, value: 1 });
      // `[::]` in a rule grants IPv6 alone.
      if (address.kind === 'tcp' && address.ip.length === 16)
        native.setSocketOption({ fd, ...socketOption.v6Only, value: 1 });
    }) ||
    bindTo(fd, address, bound) ||
    attempt(() => {
      if (backlog > 0) native.listenSocket({ fd, backlog });
      setNonBlocking(fd, false);
    })
  );
}

function bindTo(fd: number, address: Address, bound: BoundFiles): number {
  if (address.kind === 'unix') return bindUnixPath(fd, address.path, bound);
  return attempt(() => native.bindSocket({ fd, address: addressToSockaddr(address) }));
}
