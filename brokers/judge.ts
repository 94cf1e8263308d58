// SPDX-License-Identifier: Apache-2.0
// The one place of verdicts, for both doors: whatever the VMM calls or the launcher asks for is judged here, by the same rules.
import {
  type Address,
  type AddressRule,
  connectTarget,
  formatAddress,
  matchAddress,
  matchPath,
  type PathAccess,
  type PathRule,
  parseAddressRule,
  parseIp,
  parsePathRule,
} from '../core/policy/address/index.ts';
import {
  anyTarget,
  type DeviceRule,
  deviceContains,
  type PairKind,
  parseDeviceRule,
  parseMemoryRule,
  parseTapRule,
  type TapRule,
  tapContains,
} from '../core/policy/resource.ts';
import type { BrokerRule, PinnedHosts } from '../core/policy/types.ts';
import { errno } from './linux.ts';
import type { Stages } from './stages.ts';

/** What somebody wants done. */
export type Wish =
  | { readonly request: 'connect'; readonly address: Address }
  /** `dualStack`: an IPv6 socket without V6ONLY, whose wildcard takes the IPv4 port too. */
  | { readonly request: 'bind'; readonly address: Address; readonly dualStack?: boolean }
  | { readonly request: 'open'; readonly path: string; readonly access: PathAccess }
  | { readonly request: 'tap'; readonly name: string; readonly bridge?: string }
  | {
      readonly request: 'device';
      readonly kind: 'char' | 'block';
      readonly major: number;
      readonly minor: number;
      readonly access: PathAccess;
    }
  | { readonly request: 'memory'; readonly bytes: number }
  | { readonly request: 'terminal' }
  | { readonly request: 'pair'; readonly kind: PairKind }
  | { readonly request: 'exec'; readonly program: string };

export type Judgement =
  /** `also`: the rule for the second address that a dual-stack bind takes. */
  { readonly granted: true; readonly rule: BrokerRule; readonly also?: BrokerRule } | Refused;

export interface Refused {
  readonly granted: false;
  readonly errno: number;
  /** Absent when no rule speaks of it. */
  readonly rule: BrokerRule | undefined;
  /** The profile line that would permit it, under the stage's `broker:`. */
  readonly fix: string;
}

export type ParsedRule =
  | { readonly kind: 'address'; readonly rule: BrokerRule; readonly target: AddressRule }
  | { readonly kind: 'path'; readonly rule: BrokerRule; readonly target: PathRule }
  | { readonly kind: 'tap'; readonly rule: BrokerRule; readonly target: TapRule }
  | { readonly kind: 'device'; readonly rule: BrokerRule; readonly target: DeviceRule }
  | { readonly kind: 'memory'; readonly rule: BrokerRule; readonly maxBytes: number }
  | { readonly kind: 'word'; readonly rule: BrokerRule };

/** A refusing rule wins over every granting one; without a granting rule the answer is no. */
export function judge(rules: readonly ParsedRule[], wish: Wish): Judgement {
  let granting: BrokerRule | undefined;
  for (const parsed of rules) {
    if (parsed.rule.request !== wish.request || !speaksOf(parsed, wish)) continue;
    if (parsed.rule.refuseErrno !== undefined) return refused(wish, parsed.rule.refuseErrno, parsed.rule);
    if (parsed.rule.mayGrant !== true) granting ??= parsed.rule;
  }
  if (granting === undefined) return refused(wish, errno.EACCES, undefined);
  if (wish.request === 'bind' && wish.dualStack === true) {
    const alsoTaken = judge(rules, { request: 'bind', address: v4Wildcard(wish.address) });
    return alsoTaken.granted ? { granted: true, rule: granting, also: alsoTaken.rule } : alsoTaken;
  }
  return { granted: true, rule: granting };
}

/** The last earlier stage whose rules grant the wish; null when none does. */
export function grantedBefore(stages: Stages, wish: Wish): string | null {
  const granting = stages.earlier.filter(({ rules }) => judge(rules, wish).granted);
  return granting.at(-1)?.stage.name ?? null;
}

/** @throws RatchetError ADDRESS_INVALID. */
export function parseRules(rules: readonly BrokerRule[], hosts: PinnedHosts = {}): readonly ParsedRule[] {
  return rules.map((rule) => parseRule(rule, hosts));
}

/** A name means the addresses that the launch found for it, and nothing when it found none. */
function pinned(rule: AddressRule, hosts: PinnedHosts): AddressRule {
  if (rule.kind !== 'tcp-name') return rule;
  return { ...rule, ips: (hosts[rule.host] ?? []).flatMap((text) => [parseIp(text) ?? []]) };
}

export function parseRule(rule: BrokerRule, hosts: PinnedHosts = {}): ParsedRule {
  switch (rule.request) {
    case 'connect':
    case 'bind':
      return { kind: 'address', rule, target: pinned(parseAddressRule(rule.target), hosts) };
    case 'open':
      return { kind: 'path', rule, target: parsePathRule(rule.target) };
    case 'tap':
      return { kind: 'tap', rule, target: parseTapRule(rule.target) };
    case 'device':
      return { kind: 'device', rule, target: parseDeviceRule(rule.target) };
    case 'memory':
      return { kind: 'memory', rule, maxBytes: parseMemoryRule(rule.target) };
    case 'terminal':
    case 'pair':
    case 'exec':
      return { kind: 'word', rule };
  }
}

/** The wish in the words of the grammar, for events and the log. */
export function targetText(wish: Wish): string {
  switch (wish.request) {
    case 'connect':
    case 'bind':
      return formatAddress(wish.address);
    case 'open':
      return wish.access === 'ro' ? `${wish.path}:ro` : wish.path;
    case 'tap':
      return wish.bridge === undefined ? wish.name : `${wish.name}@${wish.bridge}`;
    case 'device':
      return `${wish.kind}:${wish.major}:${wish.minor}${wish.access === 'ro' ? ':ro' : ''}`;
    case 'memory':
      return String(wish.bytes);
    case 'terminal':
      return anyTarget;
    case 'pair':
      return wish.kind;
    case 'exec':
      return wish.program;
  }
}

/** The wish as arguments of a refusal: what was asked for, in texts. */
export function wishArguments(wish: Wish): Readonly<Record<string, string | number>> {
  switch (wish.request) {
    case 'connect':
    case 'bind':
      return { address: formatAddress(wish.address) };
    case 'open':
      return { path: wish.path, access: wish.access };
    case 'tap':
      return { name: wish.name, ...(wish.bridge === undefined ? {} : { bridge: wish.bridge }) };
    case 'device':
      return { device: `${wish.kind}:${wish.major}:${wish.minor}`, access: wish.access };
    case 'memory':
      return { bytes: wish.bytes };
    case 'terminal':
      return {};
    case 'pair':
      return { kind: wish.kind };
    case 'exec':
      return { program: wish.program };
  }
}

function speaksOf(parsed: ParsedRule, wish: Wish): boolean {
  switch (wish.request) {
    case 'connect':
      return parsed.kind === 'address' && matchAddress(parsed.target, connectTarget(wish.address));
    case 'bind':
      return parsed.kind === 'address' && matchAddress(parsed.target, wish.address);
    case 'open':
      if (parsed.kind !== 'path') return false;
      // A refusing rule is about the path, however it would be opened.
      return matchPath(parsed.target, wish.path, parsed.rule.refuseErrno === undefined ? wish.access : 'ro');
    case 'tap':
      return parsed.kind === 'tap' && tapContains(parsed.target, { name: wish.name, bridge: wish.bridge });
    case 'device':
      // As for paths, a refusing rule is about the device, however it would be opened.
      return (
        parsed.kind === 'device' &&
        deviceContains(parsed.target, {
          ...wish,
          readOnly: wish.access === 'ro' || parsed.rule.refuseErrno !== undefined,
        })
      );
    case 'memory':
      return parsed.kind === 'memory' && wish.bytes <= parsed.maxBytes;
    case 'terminal':
    case 'pair':
    case 'exec':
      return parsed.kind === 'word' && parsed.rule.target === targetText(wish);
  }
}

function refused(wish: Wish, number: number, rule: BrokerRule | undefined): Refused {
  const target = wish.request === 'connect' ? formatAddress(connectTarget(wish.address)) : targetText(wish);
  return {
    granted: false,
    errno: number,
    rule,
    fix: `${wish.request}: [{ grant: [${JSON.stringify(target)}], why: "..." }]`,
  };
}

function v4Wildcard(address: Address): Address {
  return address.kind === 'tcp' ? { ...address, ip: [0, 0, 0, 0], scope: 0 } : address;
}
