// SPDX-License-Identifier: Apache-2.0
// sendto and sendmsg. One with an address is a connect for one message, and is judged as one: address and data are copied, and our copy is sent on the VMM's own
// socket. One without an address goes where the socket was connected to, which was judged then. No fds and no credentials are passed on: what a control message
// says is the VMM's, and would mean something else in our process.
import { addressToSockaddr, socketFamily } from '../../core/policy/address/index.ts';
import { native } from '../../native/index.ts';
import type { Wish } from '../judge.ts';
import { errno, socketType } from '../linux.ts';
import { pinnedSockaddr, pinSocket } from '../unix-pin.ts';
import { int32 } from './arguments.ts';
import { CallFails } from './caller.ts';
import { deliver } from './deliver.ts';
import { type Call, judgeCall, refuseCall, reportGrantedCall } from './judged-call.ts';
import { readKind, readSocketAddress, type SocketKind } from './socket-call.ts';

/** Of a stream this much is sent at once; a larger datagram is EMSGSIZE, as the kernel says of what a socket cannot hold. */
const maxMessageBytes = 256 * 1024;
const maxVectors = 64;

/** MSG_OOB, MSG_DONTROUTE, MSG_DONTWAIT, MSG_EOR, MSG_CONFIRM, MSG_NOSIGNAL, MSG_MORE. Not MSG_FASTOPEN, which connects, and not MSG_ZEROCOPY. */
const passedFlags = 0x1 | 0x4 | 0x40 | 0x80 | 0x800 | 0x4000 | 0x8000;

interface Part {
  readonly pointer: bigint;
  readonly length: bigint;
}

interface Message {
  readonly fd: number;
  readonly name: { readonly pointer: bigint; readonly length: number };
  readonly flags: number;
  readonly parts: readonly Part[];
}

export function sendtoCall(call: Call): void {
  const [fd, data, length, flags, pointer, nameLength] = call.caller.notification.args;
  send(call, {
    fd: int32(fd),
    name: { pointer, length: int32(nameLength) },
    flags: int32(flags),
    parts: [{ pointer: data, length }],
  });
}

/** struct msghdr: name, namelen, iov, iovlen, control, controllen, flags, each in 8 bytes. */
export function sendmsgCall(call: Call): void {
  const [fd, header, flags] = call.caller.notification.args;
  const words = call.caller.readMemory(header, 56);
  if (words.readBigUInt64LE(40) !== 0n) {
    refuse(call, 'a control message');
    return;
  }
  const count = words.readBigUInt64LE(24);
  if (count > BigInt(maxVectors)) throw new CallFails(errno.EMSGSIZE);
  send(call, {
    fd: int32(fd),
    name: { pointer: words.readBigUInt64LE(0), length: words.readInt32LE(8) },
    flags: int32(flags),
    parts: readVectors(call, words.readBigUInt64LE(16), Number(count)),
  });
}

function readVectors(call: Call, pointer: bigint, count: number): readonly Part[] {
  if (count === 0) return [];
  const words = call.caller.readMemory(pointer, count * 16);
  return Array.from({ length: count }, (_, index) => ({
    pointer: words.readBigUInt64LE(index * 16),
    length: words.readBigUInt64LE(index * 16 + 8),
  }));
}

function send(call: Call, message: Message): void {
  const { fd, name, flags } = message;
  if ((flags & ~passedFlags) !== 0) refuse(call, `flags 0x${(flags >>> 0).toString(16)}`);
  else if (name.pointer === 0n || name.length === 0) sendToPeer(call, message);
  else sendToAddress(call, { ...message, fd });
}

function sendToPeer(call: Call, { fd, flags, parts }: Message): void {
  const socket = call.caller.takeFd(fd);
  try {
    const kind = readKind(socket);
    if (!goesToItsPeer(kind)) {
      refuse(call, `a socket of family ${kind.family}, type ${kind.type}`);
      socket.close();
      return;
    }
    const data = readData(call, parts, kind.type);
    const attempt = () => native.sendTo({ fd: socket.fd, data, address: new Uint8Array(0), flags });
    deliver(call, { socket, flags, attempt, permitted: () => true, done: () => undefined });
  } catch (error) {
    socket.close();
    throw error;
  }
}

function sendToAddress(call: Call, { fd, name, flags, parts }: Message): void {
  const read = readSocketAddress(call, { fd, ...name }, takesAddresses);
  if (read === undefined) return;
  const { socket, address } = read;
  try {
    const data = readData(call, parts, socketType.datagram);
    const wish: Wish = { request: 'connect', address };
    const permit = judgeCall(call, wish, socket);
    if (permit === undefined) return;
    const attempt = (): number => {
      if (address.kind !== 'unix')
        return native.sendTo({ fd: socket.fd, data, address: addressToSockaddr(address), flags });
      using pin = pinSocket(address.path);
      return native.sendTo({ fd: socket.fd, data, address: pinnedSockaddr(pin), flags });
    };
    deliver(call, {
      socket,
      flags,
      attempt,
      permitted: permit.holds,
      done: (result, asker) => reportGrantedCall(call, wish, permit.rule, { asker, errno: result, request: 'send' }),
    });
  } catch (error) {
    socket.close();
    throw error;
  }
}

/** Unix datagrams alone. A stream's address is ignored by the kernel, or means a connect; and no rule can name a UDP address. */
function takesAddresses({ family, type }: SocketKind): boolean {
  return family === socketFamily.unix && type === socketType.datagram;
}

function goesToItsPeer({ family, type }: SocketKind): boolean {
  const families: readonly number[] = [socketFamily.unix, socketFamily.inet, socketFamily.inet6, socketFamily.vsock];
  return families.includes(family) && type !== socketType.raw;
}

function readData(call: Call, parts: readonly Part[], type: number): Buffer {
  const total = parts.reduce((sum, { length }) => sum + length, 0n);
  if (total > BigInt(maxMessageBytes) && type !== socketType.stream) throw new CallFails(errno.EMSGSIZE);
  const read: Buffer[] = [];
  let left = maxMessageBytes;
  for (const { pointer, length } of parts) {
    const bytes = Math.min(left, Number(length));
    if (bytes > 0) read.push(call.caller.readMemory(pointer, bytes));
    left -= bytes;
  }
  return Buffer.concat(read);
}

function refuse(call: Call, found: string): void {
  refuseCall(call, { errno: errno.EACCES, rule: undefined, fix: null, args: { found } });
}
