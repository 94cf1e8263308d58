// SPDX-License-Identifier: Apache-2.0
// listen(2) binds a TCP socket that was never bound, to every interface and a port of the kernel's choice: a bind that nobody judged.

import { sockaddrToAddress, socketFamily } from '../../core/policy/address/index.ts';
import { native } from '../../native/index.ts';
import { disconnect } from '../disconnect.ts';
import { errno, socketOption } from '../linux.ts';
import { attempt, errnoOf } from '../native-errno.ts';
import { int32 } from './arguments.ts';
import { CallFails } from './caller.ts';
import { type Call, refuseCall } from './judged-call.ts';

/** The VMM's own listen(2), performed on its own socket, if that has an address: one that was granted, or one that it was given. */
export function listenCall(call: Call): void {
  const { args } = call.caller.notification;
  using socket = call.caller.takeFd(int32(args[0]));
  const family = familyOf(socket.fd);
  const port = portOf(socket.fd, family);
  if (port === 0) {
    socket.close();
    refuseCall(call, {
      errno: errno.EACCES,
      rule: undefined,
      fix: 'bind: [{ grant: [tcp:HOST:PORT], why: "..." }]',
      args: { note: 'the socket is not bound, and listening would bind it to every interface' },
    });
    return;
  }
  const result = attempt(() => native.listenSocket({ fd: socket.fd, backlog: int32(args[1]) }));
  // A connection that broke just now has given its port back, and the kernel took another one.
  const moved = result === 0 && portOf(socket.fd, family) !== port;
  if (moved) disconnect(socket);
  socket.close();
  if (moved) call.caller.answerErrno(errno.EACCES);
  else if (result === 0) call.caller.answerValue(0n);
  else call.caller.answerErrno(result);
}

function familyOf(fd: number): number {
  try {
    return native.getSocketOption({ fd, ...socketOption.domain });
  } catch (error) {
    throw new CallFails(errnoOf(error));
  }
}

/** -1 for families where the kernel itself refuses to listen unbound. */
function portOf(fd: number, family: number): number {
  if (family !== socketFamily.inet && family !== socketFamily.inet6) return -1;
  const address = sockaddrToAddress(native.getSocketName({ fd }));
  return address.kind === 'tcp' ? address.port : 0;
}
