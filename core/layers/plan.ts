// SPDX-License-Identifier: Apache-2.0
// What confines a program besides its filters: from the profile's `layers` to what the stager is told.
import { existsSync, realpathSync } from 'node:fs';
import { native } from '../../native/index.ts';
import { RatchetError } from '../errors.ts';
import { parsePathRule } from '../policy/address/index.ts';
import type { Layers } from '../policy/index.ts';
import type { ResolvedProfile } from '../policy/types.ts';
import { landlockRules, type PathRoot } from '../self/landlock.ts';

/** Those that can be left out or be missing, by the names that the report has. */
export const layerNames = [
  'environment',
  'namespace-user',
  'namespace-net',
  'namespace-ipc',
  'namespace-uts',
  'namespace-cgroup',
  'namespace-mount',
  'user',
  'securebits',
  'landlock-files',
  'landlock-tcp',
  'landlock-scopes',
  'rlimits',
] as const;

export type LayerName = (typeof layerNames)[number];

export interface LayerOptions {
  /** Left out by the launcher; the report says so. */
  readonly without?: readonly LayerName[];
  /** May be missing on this kernel, or for this user; the report says so. */
  readonly optional?: readonly LayerName[];
  /** The user and group that the program becomes; the launcher's own when absent. */
  readonly user?: number;
}

/** A layer that is not there, and why that was accepted. */
export interface Missing {
  readonly name: LayerName;
  readonly reason: string;
}

export interface LayerPlan {
  /** Kinds of namespaces that are new, as /proc/PID/ns has them. */
  readonly namespaces: readonly string[];
  readonly user: number | undefined;
  readonly securebits: boolean;
  readonly landlock:
    | {
        readonly fs: bigint;
        readonly net: bigint;
        readonly scoped: bigint;
        readonly paths: readonly { readonly path: string; readonly access: bigint }[];
      }
    | undefined;
  /** Variables that stay; undefined: all. */
  readonly environment: readonly string[] | undefined;
  readonly rlimits: Readonly<Record<string, number>>;
  readonly missing: readonly Missing[];
}

/** CLONE_NEW*, include/uapi/linux/sched.h, by the names of /proc/PID/ns. */
const cloneBits: Readonly<Record<string, number>> = {
  mnt: 0x0002_0000,
  cgroup: 0x0200_0000,
  uts: 0x0400_0000,
  ipc: 0x0800_0000,
  user: 0x1000_0000,
  net: 0x4000_0000,
};

/** First Landlock ABI that has it. */
const tcpAbi = 4;
const scopesAbi = 6;
const bindAndConnect = 3n;
const abstractSocketsAndSignals = 3n;

/** Who loads a program's libraries, by the C library and architecture. */
const loaders = [
  '/lib64/ld-linux-x86-64.so.2',
  '/lib/ld-linux-aarch64.so.1',
  '/lib/ld-linux-riscv64-lp64d.so.1',
  '/lib/ld-musl-x86_64.so.1',
  '/lib/ld-musl-aarch64.so.1',
];

/** @throws RatchetError KERNEL_UNSUPPORTED for a layer that this kernel or user cannot have and that was not declared optional. */
export function planLayers(options: {
  readonly layers: Layers;
  readonly profile: ResolvedProfile;
  /** The program's file. */
  readonly path: string;
  readonly wanted: LayerOptions;
}): LayerPlan {
  const { layers, profile, path, wanted } = options;
  const missing: Missing[] = [];
  const leaves = (name: LayerName): boolean => {
    if (wanted.without?.includes(name) !== true) return false;
    missing.push({ name, reason: 'the launcher left it out' });
    return true;
  };
  const has = (name: LayerName, there: boolean, lack: string, cure: string): boolean => {
    if (leaves(name)) return false;
    if (there) return true;
    if (wanted.optional?.includes(name) !== true)
      throw new RatchetError('KERNEL_UNSUPPORTED', `the layer ${name} cannot be made: ${lack}`, {
        next: `${cure}, or declare it optional`,
      });
    missing.push({ name, reason: lack });
    return false;
  };
  const isRoot = process.geteuid?.() === 0;
  const namespaces = layers.namespaces
    .filter((kind) => !leaves(`namespace-${kind}`))
    .map((kind) => (kind === 'mount' ? 'mnt' : kind));
  if (!isRoot && namespaces.length > 0) namespaces.unshift('user' as never);
  const privileged = isRoot || namespaces.length > 0;
  const abi = native.landlockAbi();
  const older = `Landlock here has ABI ${abi}`;
  const files = has('landlock-files', abi > 0, 'the kernel has no Landlock', 'boot with lsm=landlock,... (Linux 5.13)');
  const tcp = has('landlock-tcp', abi >= tcpAbi, older, 'use Linux 6.7');
  const scopes = has('landlock-scopes', abi >= scopesAbi, older, 'use Linux 6.12');
  const rules = files ? landlockRules(rootsOf(layers, profile, path)) : undefined;
  const user =
    wanted.user !== undefined && has('user', isRoot, 'only root may become another user', 'start the launcher as root')
      ? wanted.user
      : undefined;
  return {
    namespaces,
    user,
    securebits: has('securebits', privileged, 'it takes CAP_SETPCAP', 'start the launcher as root, or use a namespace'),
    landlock:
      files || tcp || scopes
        ? {
            fs: rules?.handled ?? 0n,
            net: tcp ? bindAndConnect : 0n,
            scoped: scopes ? abstractSocketsAndSignals : 0n,
            paths: rules?.rights ?? [],
          }
        : undefined,
    environment: leaves('environment') ? undefined : layers.environment,
    rlimits: leaves('rlimits') ? {} : (layers.rlimits ?? {}),
    missing,
  };
}

/** What the stager is told. */
export function stagerWords({ namespaces, user, securebits, landlock }: LayerPlan): readonly string[] {
  const bits = namespaces.reduce((sum, kind) => sum | (cloneBits[kind] ?? 0), 0);
  return [
    ...(bits === 0 ? [] : ['--namespaces', String(bits)]),
    ...(user === undefined ? [] : ['--user', `${user}:${user}`]),
    ...(securebits ? ['--lock-securebits'] : []),
    ...(landlock === undefined ? [] : ['--landlock', `${landlock.fs}:${landlock.net}:${landlock.scoped}`]),
    ...(landlock?.paths ?? []).flatMap(({ path, access }) => ['--landlock-path', `${access}:${path}`]),
  ];
}

export function environmentFor(plan: LayerPlan, environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { environment: kept } = plan;
  if (kept === undefined) return environment;
  return Object.fromEntries(Object.entries(environment).filter(([name]) => kept.includes(name)));
}

/** What the profile lists, as far as it is there; what its broker may open for it; and the program with its loader. */
function rootsOf({ files }: Layers, profile: ResolvedProfile, path: string): readonly PathRoot[] {
  const listed = (paths: readonly string[], uses: PathRoot['uses']): readonly PathRoot[] =>
    paths.filter((each) => existsSync(each)).map((each) => ({ path: realpathSync(each), uses }));
  const granted = profile.stages
    .flatMap(({ broker }) => broker)
    .filter(({ request, refuseErrno }) => request === 'open' && refuseErrno === undefined)
    .map(({ target }): PathRoot => {
      const { pattern, readOnly } = parsePathRule(target);
      return { path: beforeWildcard(pattern), uses: readOnly ? ['read'] : ['read', 'write'] };
    });
  return [
    ...listed(files.read, ['read']),
    ...listed(files.write ?? [], ['read', 'write']),
    ...granted.filter((root) => existsSync(root.path)),
    ...listed([path, ...loaders], ['read', 'execute']),
  ];
}

function beforeWildcard(pattern: string): string {
  const components = pattern.split('/');
  const wild = components.findIndex((part) => part.includes('*'));
  return wild < 0 ? pattern : components.slice(0, wild).join('/') || '/';
}
