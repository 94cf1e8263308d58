// SPDX-License-Identifier: Apache-2.0
// Which sockets a program may have, as AppArmor tells them apart: by family and type. It has those that its filter lets it make, and those that its
// broker makes for it: AppArmor asks again when a descriptor arrives.
import { parseAddressRule } from '../../policy/address/index.ts';
import { mayPermit } from '../../policy/may-permit.ts';
import { parsePairRule } from '../../policy/resource.ts';
import type { BrokerRule, FilterPolicy } from '../../policy/types.ts';
import { constantValue } from '../../tables/index.ts';

/** AppArmor's names are the kernel's without AF_, in small letters. */
const families = [
  'unix', 'inet', 'inet6', 'vsock', 'netlink', 'packet', 'alg', 'can', 'bluetooth', 'tipc', 'rds', 'xdp', 'key', 'kcm', 'smc', 'nfc', 'llc', 'mpls',
  'ib', 'iucv', 'rxrpc', 'isdn', 'phonet', 'ieee802154', 'caif', 'qipcrtr', 'pppox', 'atmpvc', 'atmsvc', 'ax25', 'ipx', 'appletalk', 'netrom',
  'bridge', 'x25', 'rose', 'ash', 'econet', 'irda', 'wanpipe',
] as const; // biome-ignore format: a list

/** SOCK_*, include/linux/net.h; they are the same on all architectures here. */
const types: Readonly<Record<string, bigint>> = { stream: 1n, dgram: 2n, raw: 3n, rdm: 4n, seqpacket: 5n, packet: 10n };

/** What a rule on unix sockets calls the program's own calls. */
const unixCalls: Readonly<Record<string, readonly string[]>> = {
  create: ['socket', 'socketpair'],
  bind: ['bind'],
  listen: ['listen'],
  connect: ['connect'],
  accept: ['accept', 'accept4'],
};

/** What is done with a socket that is there, whoever made it. */
const dataAccess = ['send', 'receive', 'getattr', 'setattr', 'getopt', 'setopt', 'shutdown'];

/** A rule each. Unix stream sockets are always among them: its channel to the launcher is one. */
export function socketRules(filter: FilterPolicy, broker: readonly BrokerRule[]): readonly string[] {
  const found = [{ family: 'unix', type: 'stream' }, ...ownSockets(filter), ...broker.flatMap(brokeredSockets)];
  const calls = Object.entries(unixCalls).flatMap(([word, names]) =>
    names.some((name) => mayPermit(filter, name)) ? [word] : [],
  );
  const rules = found.map(({ family, type }) =>
    family === 'unix' ? `unix (${[...calls, ...dataAccess].join(', ')}) type=${type},` : `network ${family} ${type},`,
  );
  return [...new Set(rules)];
}

interface SocketKind {
  readonly family: string;
  readonly type: string;
}

function ownSockets(filter: FilterPolicy): readonly SocketKind[] {
  return families.flatMap((family) =>
    Object.entries(types).flatMap(([type, value]) => {
      const known = { 0: constantValue(filter.arch, `AF_${family.toUpperCase()}`) ?? -1n, 1: value };
      return mayPermit(filter, 'socket', known) || mayPermit(filter, 'socketpair', known) ? [{ family, type }] : [];
    }),
  );
}

/** What its requests can give (brokers/PROTOCOL.md): unix sockets of all kinds, vsock ones of two, streams of TCP. */
function brokeredSockets({ request, target, refuseErrno }: BrokerRule): readonly SocketKind[] {
  if (refuseErrno !== undefined) return [];
  if (request === 'pair') return [{ family: 'unix', type: parsePairRule(target).replace('datagram', 'dgram') }];
  if (request !== 'connect' && request !== 'bind') return [];
  const rule = parseAddressRule(target);
  const all = (family: string, kinds: readonly string[]) => kinds.map((type) => ({ family, type }));
  switch (rule.kind) {
    case 'tcp':
      return all(rule.ip.length === 4 ? 'inet' : 'inet6', ['stream']);
    case 'tcp-name':
      return [...all('inet', ['stream']), ...all('inet6', ['stream'])];
    case 'vsock':
      return all('vsock', ['stream', 'seqpacket']);
    case 'netlink':
      return all('netlink', ['raw']);
    default:
      return all('unix', ['stream', 'dgram', 'seqpacket']);
  }
}
