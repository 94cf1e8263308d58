// SPDX-License-Identifier: Apache-2.0
import type { Request } from '../../core/broker/protocol.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import type { Address } from '../../core/policy/address/index.ts';
import { native } from '../../native/index.ts';
import { familyOf } from '../families.ts';
import { errno, socketOption, socketType } from '../linux.ts';
import { attempt } from '../native-errno.ts';
import { failed, type Reply } from './reply.ts';

type SocketWishes = Pick<Extract<Request, { type: 'connect' }>, 'socket' | 'keepAlive' | 'interfaceIndex'>;

/** A socket for the address, with the options that were asked for; undefined when that was answered with an error. */
export function makeSocket(address: Address, wishes: SocketWishes, reply: Reply): OwnedFd | undefined {
  const { keepAlive = false, interfaceIndex } = wishes;
  const misfit = misfitOf(address, wishes);
  if (misfit !== undefined) {
    failed(reply, misfit, errno.EINVAL);
    return undefined;
  }
  let made: OwnedFd | undefined;
  const result = attempt(() => {
    made = new OwnedFd(native.createSocket({ domain: familyOf(address), type: typeOf(wishes), protocol: 0 }));
    const { fd } = made;
    if (keepAlive) native.setSocketOption({ fd, ...socketOption.keepAlive, value: 1 });
    if (interfaceIndex !== undefined)
      native.setSocketOption({ fd, ...socketOption.bindToInterface, value: interfaceIndex });
  });
  if (result === 0) return made;
  made?.close();
  failed(reply, 'no such socket could be made', result);
  return undefined;
}

export function typeOf({ socket = 'stream' }: SocketWishes): number {
  return socketType[socket];
}

function misfitOf(
  { kind }: Address,
  { socket = 'stream', keepAlive, interfaceIndex }: SocketWishes,
): string | undefined {
  const unix = kind === 'unix' || kind === 'unix-abstract';
  if (socket === 'datagram' && !unix) return 'datagram sockets are for unix addresses';
  if (socket === 'seqpacket' && !unix && kind !== 'vsock') return 'seqpacket sockets are for unix and vsock addresses';
  if (keepAlive === true && kind !== 'tcp') return 'keep-alive is for tcp addresses';
  if (interfaceIndex !== undefined && kind !== 'tcp') return 'an interface is for tcp addresses';
  return undefined;
}
