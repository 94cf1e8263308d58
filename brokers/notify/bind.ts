// SPDX-License-Identifier: Apache-2.0
import { addressToSockaddr, socketFamily } from '../../core/policy/address/index.ts';
import { native } from '../../native/index.ts';
import type { Wish } from '../judge.ts';
import { errno, sigkill, socketOption } from '../linux.ts';
import { attempt } from '../native-errno.ts';
import { bindUnixPath } from '../unix-pin.ts';
import { type Call, finishCall, judgeCall, refuseCall } from './judged-call.ts';
import { readSocketCall } from './socket-call.ts';

/** The VMM's own bind(2), performed on its own socket with the copied address. Options such as SO_REUSEADDR are as the VMM set them. */
export function bindCall(call: Call): void {
  const read = readSocketCall(call);
  if (read === undefined) return;
  using socket = read.socket;
  const { family, address } = read;
  const wildcard = family === socketFamily.inet6 && address.kind === 'tcp' && address.ip.every((byte) => byte === 0);
  const isDualStack = (): boolean => native.getSocketOption({ fd: socket.fd, ...socketOption.v6Only }) === 0;
  const dualStack = wildcard && address.ip.length === 16 && isDualStack();
  const wish: Wish = { request: 'bind', address, dualStack };
  const permit = judgeCall(call, wish, socket);
  if (permit === undefined) return;
  const result =
    address.kind === 'unix'
      ? bindUnixPath(socket.fd, address.path, call.broker.bound)
      : attempt(() =>
          native.bindSocket({
            fd: socket.fd,
            address: addressToSockaddr(address, { mapped: family === socketFamily.inet6 }),
          }),
        );
  // A bound socket keeps its V6ONLY, so this is what it would listen on. Only hostile code changes the option during its own bind; the port that
  // nobody granted goes with it.
  if (result === 0 && wildcard && !dualStack && isDualStack()) {
    socket.close();
    call.caller.kill(sigkill);
    refuseCall(call, {
      errno: errno.EACCES,
      rule: undefined,
      fix: null,
      args: { note: 'IPV6_V6ONLY was taken away during the bind' },
    });
    return;
  }
  socket.close();
  finishCall(call, wish, permit.rule, result);
}
