// SPDX-License-Identifier: Apache-2.0
import type { Address, AddressRule } from './address.ts';
import { embedsV4, isUnspecified, samePrefix } from './ip.ts';
import { matchPattern, patternContains } from './path.ts';

/** Whether the rule names this address. `address` is taken as it is: see `connectTarget`. */
export function matchAddress(rule: AddressRule, address: Address): boolean {
  if (rule.kind === 'tcp') {
    if (address.kind !== 'tcp' || address.port < rule.firstPort || address.port > rule.lastPort) return false;
    return containsHost(rule, { ip: address.ip, prefix: address.ip.length * 8, scope: address.scope });
  }
  if (rule.kind === 'tcp-name') {
    if (address.kind !== 'tcp' || address.port < rule.firstPort || address.port > rule.lastPort) return false;
    return (rule.ips ?? []).some((ip) => ip.length === address.ip.length && samePrefix(ip, address.ip, ip.length * 8));
  }
  if (rule.kind === 'unix') return address.kind === 'unix' && matchPattern(rule.pattern, address.path);
  return address.kind !== 'tcp' && address.kind !== 'unix' && sameOther(rule, address);
}

/** Whether every address that `narrower` names is named by `wider`. Never true by mistake; may be false for sets that overlap oddly. */
export function ruleContains(wider: AddressRule, narrower: AddressRule): boolean {
  if (wider.kind === 'tcp') {
    if (narrower.kind !== 'tcp') return false;
    return (
      wider.firstPort <= narrower.firstPort && narrower.lastPort <= wider.lastPort && containsHost(wider, narrower)
    );
  }
  // A name and a number never contain each other: what the name means is known at the launch alone.
  if (wider.kind === 'tcp-name')
    return (
      narrower.kind === 'tcp-name' &&
      wider.host === narrower.host &&
      wider.firstPort <= narrower.firstPort &&
      narrower.lastPort <= wider.lastPort
    );
  if (wider.kind === 'unix') return narrower.kind === 'unix' && patternContains(wider.pattern, narrower.pattern);
  return (
    narrower.kind !== 'tcp' && narrower.kind !== 'tcp-name' && narrower.kind !== 'unix' && sameOther(wider, narrower)
  );
}

/** What a connect to this address reaches: the wildcard means loopback, and is judged so. */
export function connectTarget(address: Address): Address {
  if (address.kind !== 'tcp' || !isUnspecified(address.ip)) return address;
  return {
    ...address,
    ip: address.ip.length === 4 ? [127, 0, 0, 1] : [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
  };
}

interface HostSet {
  readonly ip: readonly number[];
  readonly prefix: number;
  readonly scope: number;
}

function containsHost(wider: HostSet, narrower: HostSet): boolean {
  if (wider.ip.length !== narrower.ip.length || wider.scope !== narrower.scope) return false;
  if (wider.prefix > narrower.prefix || !samePrefix(wider.ip, narrower.ip, wider.prefix)) return false;
  // A wide IPv6 rule does not reach IPv4 hosts by their NAT64 or v4-compatible names.
  return !(embedsV4(narrower.ip, narrower.prefix) && wider.prefix < 96);
}

function sameOther(
  left: Exclude<AddressRule, { kind: 'tcp' | 'tcp-name' | 'unix' }>,
  right: Exclude<Address, { kind: 'tcp' | 'unix' }>,
): boolean {
  switch (left.kind) {
    case 'unix-abstract':
      return right.kind === 'unix-abstract' && left.name === right.name;
    case 'vsock':
      return right.kind === 'vsock' && left.cid === right.cid && left.port === right.port;
    case 'netlink':
      return right.kind === 'netlink';
  }
}
