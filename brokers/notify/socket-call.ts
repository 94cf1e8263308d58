// SPDX-License-Identifier: Apache-2.0
// What connect and bind have in common: (fd, sockaddr pointer, length). The address is copied once, the socket is pinned once, and only these are used.
import { RatchetError } from '../../core/errors.ts';
import type { OwnedFd } from '../../core/owned-fd.ts';
import { type Address, maxSockaddrBytes, sockaddrToAddress, socketFamily } from '../../core/policy/address/index.ts';
import { native } from '../../native/index.ts';
import { errno, protocolTcp, socketOption, socketType } from '../linux.ts';
import { errnoOf } from '../native-errno.ts';
import { int32 } from './arguments.ts';
import { CallFails } from './caller.ts';
import { type Call, refuseCall } from './judged-call.ts';

export interface SocketCall {
  readonly socket: OwnedFd;
  readonly family: number;
  readonly address: Address;
  /** Both as they were found, for a flow. */
  readonly kind: SocketKind;
  readonly bytes: Uint8Array;
}

/** Undefined when the call was refused and answered. @throws CallFails, CallerGone. */
export function readSocketCall(call: Call): SocketCall | undefined {
  const [fd, pointer, length] = call.caller.notification.args;
  return readSocketAddress(call, { fd: int32(fd), pointer, length: int32(length) }, isServed);
}

export interface SocketArguments {
  readonly fd: number;
  readonly pointer: bigint;
  readonly length: number;
}

/** As above, for sockets of the kinds that `served` says. */
export function readSocketAddress(
  call: Call,
  { fd, pointer, length }: SocketArguments,
  served: (kind: SocketKind) => boolean,
): SocketCall | undefined {
  const { caller } = call;
  if (length < 0 || length > maxSockaddrBytes) throw new CallFails(errno.EINVAL);
  const bytes = length === 0 ? Buffer.alloc(0) : caller.readMemory(pointer, length);
  const socket = caller.takeFd(fd);
  try {
    const kind = readKind(socket);
    const address = readAddress(call, bytes, socket);
    if (address !== undefined) {
      if (kind.family !== (bytes[0] ?? 0) + (bytes[1] ?? 0) * 256) throw new CallFails(errno.EAFNOSUPPORT);
      if (served(kind)) return { socket, family: kind.family, address, kind, bytes };
      const found = `type ${kind.type}, protocol ${kind.protocol}`;
      socket.close();
      refuseCall(call, { errno: errno.EACCES, rule: undefined, fix: null, args: { socket: found } });
    }
    socket.close();
    return undefined;
  } catch (error) {
    socket.close();
    throw error;
  }
}

export interface SocketKind {
  readonly family: number;
  readonly type: number;
  readonly protocol: number;
}

/** Asked of the pinned socket: what the VMM says about it counts for nothing. */
export function readKind(socket: OwnedFd): SocketKind {
  const read = (option: { readonly level: number; readonly name: number }) =>
    native.getSocketOption({ fd: socket.fd, ...option });
  try {
    return { family: read(socketOption.domain), type: read(socketOption.type), protocol: read(socketOption.protocol) };
  } catch (error) {
    throw new CallFails(errnoOf(error));
  }
}

/** Stream sockets of the families that the grammar names, unix datagrams and the route socket. No UDP, MPTCP, SCTP or raw sockets: no rule can name their addresses. */
function isServed({ family, type, protocol }: SocketKind): boolean {
  switch (family) {
    case socketFamily.inet:
    case socketFamily.inet6:
      return type === socketType.stream && protocol === protocolTcp;
    case socketFamily.unix:
      return protocol === 0;
    case socketFamily.vsock:
      return (type === socketType.stream || type === socketType.seqpacket) && protocol === 0;
    case socketFamily.netlink:
      return (type === socketType.raw || type === socketType.datagram) && protocol === 0;
    default:
      return false;
  }
}

function readAddress(call: Call, bytes: Buffer, socket: OwnedFd): Address | undefined {
  try {
    return sockaddrToAddress(bytes);
  } catch (error) {
    if (!(error instanceof RatchetError)) throw error;
    // A path that cannot be judged is refused like one that is not granted; anything else is no address to the kernel either.
    socket.close();
    const number = bytes[0] === socketFamily.unix ? errno.EACCES : errno.EINVAL;
    refuseCall(call, { errno: number, rule: undefined, fix: error.next ?? null, args: { address: error.message } });
    return undefined;
  }
}
