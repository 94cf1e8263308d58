// SPDX-License-Identifier: Apache-2.0

import { decodeAbstractName, encodeAbstractName } from './abstract-name.ts';
import { type AbstractAddress, type Address, type AddressRule, addressError, type VsockAddress } from './address.ts';
import { formatIp, isMapped, networkOf, parseIp } from './ip.ts';
import { normalisePath, parsePathPattern } from './path.ts';

/** sun_path holds 108 bytes, and one of them is the terminating NUL. */
export const maxUnixPathBytes = 107;

/** Reads one concrete address. Throws ADDRESS_INVALID with the right form. */
export function parseAddress(text: string): Address {
  const rule = parseAddressRule(text);
  if (rule.kind === 'unix') {
    const path = normalisePath(text.slice('unix:'.length));
    if (new TextEncoder().encode(path).length > maxUnixPathBytes)
      throw addressError(text, `a unix socket path has at most ${maxUnixPathBytes} bytes`, 'a shorter path');
    return { kind: 'unix', path };
  }
  if (rule.kind === 'tcp-name')
    throw addressError(
      text,
      `"${rule.host}" is a name`,
      'tcp:HOST:PORT with HOST an IP address, e.g. tcp:127.0.0.1:4444',
    );
  if (rule.kind !== 'tcp') return rule;
  if (rule.prefix !== rule.ip.length * 8) throw addressError(text, 'a CIDR names many addresses', 'tcp:HOST:PORT');
  if (rule.firstPort !== rule.lastPort) throw addressError(text, 'a range names many ports', 'tcp:HOST:PORT');
  return { kind: 'tcp', ip: rule.ip, scope: rule.scope, port: rule.firstPort };
}

/** Reads a rule's target. Throws ADDRESS_INVALID with the right form. */
export function parseAddressRule(text: string): AddressRule {
  const colon = text.indexOf(':');
  const kind = text.slice(0, Math.max(colon, 0));
  const rest = text.slice(colon + 1);
  switch (kind) {
    case 'tcp':
      return parseTcpRule(text, rest);
    case 'unix':
      return { kind: 'unix', pattern: parsePathPattern(rest) };
    case 'unix-abstract':
      return parseAbstract(text, rest);
    case 'vsock':
      return parseVsock(text, rest);
    case 'netlink':
      if (rest !== 'route') throw addressError(text, 'only the route socket can be named', 'netlink:route');
      return { kind: 'netlink', protocol: 'route' };
    default:
      throw addressError(text, kind === '' ? 'the kind of address is missing' : `unknown kind of address "${kind}"`);
  }
}

const tcpForm = /^(?:\[(?<six>[^\]]*)\]|(?<four>[^:[\]]*)):(?<ports>[^:]*)$/;

function parseTcpRule(text: string, rest: string): AddressRule {
  const groups = tcpForm.exec(rest)?.groups;
  if (groups === undefined)
    throw addressError(text, 'not HOST:PORT', 'tcp:HOST:PORT[-PORT], with an IPv6 host in brackets');
  const { firstPort, lastPort } = parsePorts(text, groups.ports ?? '');
  const host = groups.six ?? groups.four ?? '';
  if (groups.six === undefined && isHostName(host))
    return { kind: 'tcp-name', host: host.toLowerCase(), firstPort, lastPort };
  const { ip, prefix, scope } = parseHost(text, host, groups.six !== undefined);
  return { kind: 'tcp', ip, prefix, scope, firstPort, lastPort };
}

/** RFC 1123, with a dot in it: what a search domain would complete is not one name. The last label has a letter, so it is no number written oddly. */
export function isHostName(text: string): boolean {
  if (text === 'localhost') return true;
  return (
    text.length <= 253 &&
    /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)+[a-zA-Z](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$/.test(text)
  );
}

/** `tcp:NAME:PORT` as a request may write it; undefined for any other address. */
export function parseNamedAddress(text: string): { readonly host: string; readonly port: number } | undefined {
  if (!text.startsWith('tcp:')) return undefined;
  const rule = parseAddressRule(text);
  if (rule.kind !== 'tcp-name') return undefined;
  if (rule.firstPort !== rule.lastPort) throw addressError(text, 'a range names many ports', 'tcp:HOST:PORT');
  return { host: rule.host, port: rule.firstPort };
}

interface Host {
  readonly ip: readonly number[];
  readonly prefix: number;
  readonly scope: number;
}

function parseHost(text: string, host: string, bracketed: boolean): Host {
  const [, bare = '', scopeText, prefixText] = /^([^%/]*)(?:%([^/]*))?(?:\/(.*))?$/.exec(host) ?? [];
  const ip = parseIp(bare);
  if (ip === undefined) {
    const problem = /[a-zA-Z]/.test(bare) && !bracketed ? `"${bare}" is a name` : `"${bare}" is not an IP address`;
    throw addressError(
      text,
      problem,
      'tcp:HOST:PORT with HOST an IP address, e.g. tcp:127.0.0.1:4444 or tcp:[::1]:4444',
    );
  }
  if (bracketed !== (ip.length === 16))
    throw addressError(
      text,
      bracketed ? 'brackets are for IPv6' : 'IPv6 needs brackets',
      'tcp:10.0.0.1:80 or tcp:[2001:db8::1]:80',
    );
  const full = ip.length * 8;
  const prefix = prefixText === undefined ? full : readNumber(prefixText, full);
  if (prefix === undefined)
    throw addressError(text, `"/${prefixText}" is not a prefix length`, `a number from 0 to ${full} after the slash`);
  const scope = scopeText === undefined ? 0 : readNumber(scopeText, 0xffffffff);
  if (scope === undefined || (scopeText !== undefined && scope === 0))
    throw addressError(
      text,
      `"%${scopeText}" is not an interface index`,
      'the number of the interface, e.g. [fe80::1%2]',
    );
  if (scopeText !== undefined && !isLinkLocal(ip))
    throw addressError(text, 'only a link-local IPv6 address has a scope', 'the address without %');
  const network = networkOf(ip, prefix);
  if (network.some((byte, index) => byte !== ip[index]))
    throw addressError(text, 'bits are set after the prefix', `${formatIp(network)}/${prefix}`);
  // ::ffff:0:0/96 and longer is IPv4 written another way; shorter prefixes of it hold no IPv4 address, since those are judged as IPv4.
  if (isMapped(ip) && prefix >= 96) return { ip: ip.slice(12), prefix: prefix - 96, scope: 0 };
  return { ip, prefix, scope };
}

function isLinkLocal(ip: readonly number[]): boolean {
  return ip.length === 16 && ip[0] === 0xfe && ((ip[1] ?? 0) & 0xc0) === 0x80;
}

function parsePorts(text: string, ports: string): { firstPort: number; lastPort: number } {
  const [first, last, ...more] = ports.split('-');
  const firstPort = readNumber(first ?? '', 65535);
  const lastPort = last === undefined ? firstPort : readNumber(last, 65535);
  if (firstPort === undefined || lastPort === undefined || more.length > 0)
    throw addressError(text, `"${ports}" is not a port or a range of ports`, 'a number from 0 to 65535, or LOW-HIGH');
  if (lastPort < firstPort) throw addressError(text, `the range ${ports} is empty`, `${lastPort}-${firstPort}`);
  return { firstPort, lastPort };
}

function parseAbstract(text: string, rest: string): AbstractAddress {
  const bytes = decodeAbstractName(rest);
  if (bytes === undefined) throw addressError(text, 'a backslash is not followed by xHH', '\\x5c for a backslash');
  if (bytes.length === 0 || bytes.length > maxUnixPathBytes)
    throw addressError(text, `an abstract name has 1 to ${maxUnixPathBytes} bytes`, 'unix-abstract:NAME');
  return { kind: 'unix-abstract', name: encodeAbstractName(bytes) };
}

function parseVsock(text: string, rest: string): VsockAddress {
  const [cidText, portText, ...more] = rest.split(':');
  const cid = readNumber(cidText ?? '', 0xffffffff);
  const port = readNumber(portText ?? '', 0xffffffff);
  if (cid === undefined || port === undefined || more.length > 0)
    throw addressError(text, 'not CID:PORT', 'vsock:CID:PORT, two numbers below 4294967296');
  return { kind: 'vsock', cid, port };
}

/** Plain decimal, no sign, no leading zeros, at most `max`. */
function readNumber(text: string, max: number): number | undefined {
  if (!/^(?:0|[1-9][0-9]{0,9})$/.test(text)) return undefined;
  const value = Number(text);
  return value <= max ? value : undefined;
}
