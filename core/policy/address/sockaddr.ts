// SPDX-License-Identifier: Apache-2.0
// struct sockaddr, as the kernel reads it on the little-endian machines ratchet runs on (ip(7), ipv6(7), unix(7), vsock(7), netlink(7)).
// Stricter than the kernel: exact lengths (or a whole sockaddr_storage, as many programs pass), so that what is judged is all there is.

import { decodeAbstractName, encodeAbstractName } from './abstract-name.ts';
import { type Address, addressError } from './address.ts';
import { isMapped, mapToV6 } from './ip.ts';
import { maxUnixPathBytes } from './parse.ts';
import { normalisePath } from './path.ts';

export const socketFamily = { unspecified: 0, unix: 1, inet: 2, netlink: 16, inet6: 10, vsock: 40 } as const;

/** sizeof(struct sockaddr_storage): the longest address the kernel takes. */
export const maxSockaddrBytes = 128;

export interface SockaddrOptions {
  /** Write an IPv4 address as ::ffff:a.b.c.d, for a socket of family inet6. */
  readonly mapped?: boolean;
}

/** Bytes for connect(2) and bind(2), made from the canonical address alone. */
export function addressToSockaddr(address: Address, options: SockaddrOptions = {}): Uint8Array {
  switch (address.kind) {
    case 'tcp':
      return address.ip.length === 4 && options.mapped !== true
        ? inetSockaddr(address.ip, address.port)
        : inet6Sockaddr(address);
    case 'unix':
      return unixSockaddr(new TextEncoder().encode(`${address.path}\0`));
    case 'unix-abstract':
      return unixSockaddr(Uint8Array.from([0, ...(decodeAbstractName(address.name) ?? [])]));
    case 'vsock': {
      const view = new DataView(new ArrayBuffer(16));
      view.setUint16(0, socketFamily.vsock, true);
      view.setUint32(4, address.port, true);
      view.setUint32(8, address.cid, true);
      return new Uint8Array(view.buffer);
    }
    case 'netlink': {
      const view = new DataView(new ArrayBuffer(12));
      view.setUint16(0, socketFamily.netlink, true);
      return new Uint8Array(view.buffer);
    }
  }
}

/** What the bytes say, or ADDRESS_INVALID: unknown families, wrong lengths, AF_UNSPEC and anything that two readers could read differently. */
export function sockaddrToAddress(bytes: Uint8Array): Address {
  if (bytes.length < 2 || bytes.length > maxSockaddrBytes)
    throw invalid(bytes, `${bytes.length} bytes are no socket address`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const family = view.getUint16(0, true);
  switch (family) {
    case socketFamily.inet:
      wantLength(bytes, 16);
      return { kind: 'tcp', ip: [...bytes.subarray(4, 8)], scope: 0, port: view.getUint16(2) };
    case socketFamily.inet6:
      wantLength(bytes, 28);
      return inet6Address(bytes, view);
    case socketFamily.unix:
      return unixAddress(bytes);
    case socketFamily.vsock:
      wantLength(bytes, 16);
      if (view.getUint16(2, true) !== 0 || view.getUint8(12) !== 0) throw invalid(bytes, 'vsock flags are set');
      return { kind: 'vsock', cid: view.getUint32(8, true), port: view.getUint32(4, true) };
    case socketFamily.netlink:
      wantLength(bytes, 12);
      if (view.getUint32(4, true) !== 0 || view.getUint32(8, true) !== 0)
        throw invalid(bytes, 'a netlink address with a port id or groups');
      return { kind: 'netlink', protocol: 'route' };
    case socketFamily.unspecified:
      throw invalid(bytes, 'AF_UNSPEC is no address');
    default:
      throw invalid(bytes, `address family ${family} is not known`);
  }
}

function inetSockaddr(ip: readonly number[], port: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(16));
  view.setUint16(0, socketFamily.inet, true);
  view.setUint16(2, port);
  const bytes = new Uint8Array(view.buffer);
  bytes.set(ip, 4);
  return bytes;
}

function inet6Sockaddr(address: {
  readonly ip: readonly number[];
  readonly scope: number;
  readonly port: number;
}): Uint8Array {
  const view = new DataView(new ArrayBuffer(28));
  view.setUint16(0, socketFamily.inet6, true);
  view.setUint16(2, address.port);
  view.setUint32(24, address.scope, true);
  const bytes = new Uint8Array(view.buffer);
  bytes.set(mapToV6(address.ip), 8);
  return bytes;
}

function unixSockaddr(path: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(2 + path.length);
  bytes[0] = socketFamily.unix;
  bytes.set(path, 2);
  return bytes;
}

function inet6Address(bytes: Uint8Array, view: DataView): Address {
  const ip = [...bytes.subarray(8, 24)];
  const scope = view.getUint32(24, true);
  const port = view.getUint16(2);
  const linkLocal = ip[0] === 0xfe && ((ip[1] ?? 0) & 0xc0) === 0x80;
  if (scope !== 0 && !linkLocal) throw invalid(bytes, 'a scope on an address that is not link-local');
  return isMapped(ip) ? { kind: 'tcp', ip: ip.slice(12), scope: 0, port } : { kind: 'tcp', ip, scope, port };
}

function unixAddress(bytes: Uint8Array): Address {
  const path = bytes.subarray(2);
  if (path.length > maxUnixPathBytes + 1) throw invalid(bytes, 'longer than sockaddr_un');
  if (path.length === 0) throw invalid(bytes, 'an unnamed unix address (autobind)');
  if (path[0] === 0) {
    if (path.length === 1) throw invalid(bytes, 'an empty abstract name');
    return { kind: 'unix-abstract', name: encodeAbstractName(path.subarray(1)) };
  }
  const end = path.indexOf(0);
  if (end < 0 && path.length > maxUnixPathBytes) throw invalid(bytes, 'a path without its terminating NUL');
  return { kind: 'unix', path: normalisePath(decodeUtf8(bytes, end < 0 ? path : path.subarray(0, end))) };
}

function decodeUtf8(bytes: Uint8Array, path: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(path);
  } catch {
    throw invalid(bytes, 'a path that is not UTF-8');
  }
}

function wantLength(bytes: Uint8Array, length: number): void {
  if (bytes.length !== length && bytes.length !== maxSockaddrBytes)
    throw invalid(bytes, `${bytes.length} bytes where the family has ${length}`);
}

function invalid(bytes: Uint8Array, problem: string) {
  const shown = Array.from(bytes.subarray(0, 16), (byte) => byte.toString(16).padStart(2, '0')).join('');
  return addressError(
    `sockaddr ${shown}${bytes.length > 16 ? '...' : ''}`,
    problem,
    'a complete sockaddr_in, _in6, _un, _vm or _nl',
  );
}
