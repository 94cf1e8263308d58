// SPDX-License-Identifier: Apache-2.0
// What one VM's broker needs: it follows from the requests that the VM's profile grants, in whatever stage.
import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Confinement } from '../broker/confinement.ts';
import { compileProfile } from '../compiler/index.ts';
import { RatchetError } from '../errors.ts';
import { parseAddressRule, parsePathRule } from '../policy/address/index.ts';
import { type DeviceRule, deviceNodeOf, parseDeviceRule } from '../policy/resource.ts';
import type { BrokerRule, ResolvedProfile } from '../policy/types.ts';
import { loadProfile } from '../profile-files.ts';
import { capabilityBits } from '../self/capabilities.ts';
import { landlockRules, type PathRoot } from '../self/landlock.ts';

export interface BrokerNeeds {
  readonly profile: ResolvedProfile;
  /** Files that it removes when it ends. */
  readonly ownedPaths: readonly string[];
  /** The VMM keeps its capabilities: only who has them too may read its memory. */
  readonly privilegedVmm: boolean;
  /** Its memory is another user's. */
  readonly otherUser?: boolean;
  /** Go on without Landlock where the kernel has none. */
  readonly withoutLandlock: boolean;
}

/** As much private writable memory as an idle broker has, four times. */
const maxDataBytes = 256 * 1024 * 1024;
const maxFds = 4096;

export function confinementFor(needs: BrokerNeeds): Confinement {
  const rules = needs.profile.stages
    .flatMap(({ broker }) => broker)
    .filter(({ refuseErrno }) => refuseErrno === undefined);
  return {
    stages: programsFor(new Set(rules.map(({ request }) => request))),
    landlock: domainFor([...rules.flatMap(rootsOf), ...housekeeping(needs.ownedPaths)], needs.withoutLandlock),
    capabilities: needs.privilegedVmm
      ? allCapabilities
      : capabilityBits(capabilitiesFor(rules, needs.otherUser ?? false)),
    maxDataBytes,
    maxFds,
  };
}

const allCapabilities = 0xffff_ffff_ffff_ffffn;

const compiled = new Map<string, Confinement['stages']>();

/** Compiled and proven once in a launcher's life for each set of requests. */
function programsFor(requests: ReadonlySet<string>): Confinement['stages'] {
  const features = ['connect', 'bind', 'tap', 'terminal', 'pair', 'exec'].filter((feature) => requests.has(feature));
  const key = features.join();
  const known = compiled.get(key);
  if (known !== undefined) return known;
  const stages = compileProfile(loadProfile('broker', { features })).stages.map(({ name, program, roles }) => {
    const { main, files } = roles;
    if (main === undefined || files === undefined)
      throw new RatchetError('PROFILE_INVALID', `profiles/broker.yaml: stage ${name} needs the roles main and files`);
    return { name, all: program, main: main.program, files: files.program };
  });
  compiled.set(key, stages);
  return stages;
}

function domainFor(roots: readonly PathRoot[], mayBeMissing: boolean): Confinement['landlock'] {
  try {
    const { handled, scoped, rights } = landlockRules(roots);
    return { handled, scoped, rights: [...rights] };
  } catch (error) {
    if (mayBeMissing && error instanceof RatchetError && error.code === 'KERNEL_UNSUPPORTED') return null;
    throw error;
  }
}

function rootsOf({ request, target }: BrokerRule): readonly PathRoot[] {
  switch (request) {
    case 'open': {
      const { pattern, readOnly } = parsePathRule(target);
      return [{ path: beforeWildcard(pattern), uses: readOnly ? ['read'] : ['read', 'write', 'make'] }];
    }
    case 'bind': {
      const rule = parseAddressRule(target);
      // Removed again before it is bound once more, and at the end.
      return rule.kind === 'unix' ? [{ path: dirname(beforeWildcard(rule.pattern)), uses: ['bind', 'remove'] }] : [];
    }
    case 'tap':
      return [{ path: '/dev/net/tun', uses: ['read', 'write'] }];
    case 'device':
      return deviceRoots(parseDeviceRule(target));
    case 'terminal':
      return [
        { path: '/dev/ptmx', uses: ['read', 'write'] },
        { path: '/dev/pts/ptmx', uses: ['read', 'write'] },
      ];
    case 'connect':
    case 'memory':
    case 'pair':
    case 'exec':
      // A socket is looked up, not opened; a program is started by the launcher.
      return [];
  }
}

/** Its name is looked up in /sys when it is asked for; a device that is not there yet, or any minor, may turn up anywhere in /dev. */
function deviceRoots({ kind, major, minor, readOnly }: DeviceRule): readonly PathRoot[] {
  const node = minor === undefined ? undefined : deviceNode(kind, major, minor);
  return [
    { path: '/sys', uses: ['read'] },
    { path: node ?? '/dev', uses: readOnly ? ['read'] : ['read', 'write'] },
  ];
}

function deviceNode(kind: 'char' | 'block', major: number, minor: number): string | undefined {
  try {
    return deviceNodeOf(readFileSync(`/sys/dev/${kind}/${major}:${minor}/uevent`, 'utf8'));
  } catch {
    return undefined;
  }
}

/** The directory above the first wildcard, or the path itself. */
function beforeWildcard(pattern: string): string {
  const components = pattern.split('/');
  const wild = components.findIndex((part) => part.includes('*'));
  return wild < 0 ? pattern : components.slice(0, wild).join('/') || '/';
}

/** The names of the VMM's threads and the sockets in use are read from /proc; what needs ptrace access there is out of a domain's reach. */
function housekeeping(ownedPaths: readonly string[]): readonly PathRoot[] {
  return [
    { path: '/proc', uses: ['read'] },
    ...ownedPaths.map((path): PathRoot => ({ path: dirname(path), uses: ['remove'] })),
  ];
}

/** A broker that is not root has none of these, and they stay away. */
function capabilitiesFor(rules: readonly BrokerRule[], otherUser: boolean): readonly string[] {
  const files = rules.some(
    ({ request, target }) => request === 'open' || request === 'device' || target.startsWith('unix:'),
  );
  return [
    ...(rules.some(({ request }) => request === 'tap') ? ['CAP_NET_ADMIN'] : []),
    ...(rules.some(bindsLowPort) ? ['CAP_NET_BIND_SERVICE'] : []),
    // Images belong to other users than root; the domain says which files.
    ...(files ? ['CAP_DAC_OVERRIDE'] : []),
    ...(otherUser || yamaScope() > 0 ? ['CAP_SYS_PTRACE'] : []),
  ];
}

function bindsLowPort({ request, target }: BrokerRule): boolean {
  if (request !== 'bind') return false;
  const rule = parseAddressRule(target);
  return rule.kind === 'tcp' && rule.firstPort > 0 && rule.firstPort < 1024;
}

/** From 1 on the broker may read from the VMM, which is not its child, only with CAP_SYS_PTRACE. */
function yamaScope(): number {
  try {
    return Number(readFileSync('/proc/sys/kernel/yama/ptrace_scope', 'utf8'));
  } catch {
    return 0;
  }
}
