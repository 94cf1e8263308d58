// SPDX-License-Identifier: Apache-2.0
// What confines a program besides its filters: from the profile's `layers` to what the stager is told.
import { realpathSync } from 'node:fs';
import { type LandlockRules, native } from '../../native/index.ts';
import { RatchetError } from '../errors.ts';
import { readCgroup, tighter } from '../policy/cgroup-limits.ts';
import type { Layers, Mac, RawCgroup, StageLayers } from '../policy/index.ts';
import type { ResolvedProfile } from '../policy/types.ts';
import { landlockRules } from '../self/landlock.ts';
import { type CgroupPlan, planCgroup } from './cgroup-plan.ts';
import { type GrantedPath, grantedPaths } from './granted-paths.ts';
import { macLack, macWords } from './mac.ts';
import { probe } from './probe.ts';
import { planRoot, type RootPlan, rootWords } from './root-plan.ts';
import { planRuleset, rulesetWords, type StageRuleset } from './stage-ruleset.ts';

/** Those that can be left out or be missing, by the names that the report has. */
export const layerNames = [
  'environment',
  'namespace-user',
  'namespace-net',
  'namespace-ipc',
  'namespace-uts',
  'namespace-cgroup',
  'namespace-mount',
  'namespace-pid',
  'root',
  'user',
  'securebits',
  'landlock-files',
  'landlock-tcp',
  'landlock-scopes',
  'mac',
  'rlimits',
  'cgroup',
  'cgroup-memory',
  'cgroup-pids',
  'cgroup-cpu',
  'cgroup-io',
] as const;

export type LayerName = (typeof layerNames)[number];

export interface LayerOptions {
  /** Left out by the launcher; the report says so. */
  readonly without?: readonly LayerName[];
  /** May be missing on this kernel, or for this user; the report says so. */
  readonly optional?: readonly LayerName[];
  /** The user and group that the program becomes; the launcher's own when absent. */
  readonly user?: number;
  /** The label that it is executed under, in place of the profile's. */
  readonly mac?: Mac;
  /** A control group with these limits, in addition to the profile's. `parent`: as /proc/PID/cgroup has it; the launcher's own when absent. */
  readonly cgroup?: RawCgroup & { readonly parent?: string | undefined };
}

/** A layer that is not there, and why that was accepted. */
export interface Missing {
  readonly name: LayerName;
  readonly reason: string;
}

export interface LayerPlan {
  /** Kinds of namespaces that are new, as /proc/PID/ns has them. */
  readonly namespaces: readonly string[];
  /** Undefined: what the launcher has. */
  readonly root: RootPlan | undefined;
  readonly user: number | undefined;
  readonly securebits: boolean;
  /** Whether the bounding set is emptied too: that takes root, or a user namespace. */
  readonly bounding: boolean;
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
  readonly mac: Mac | undefined;
  readonly cgroup: CgroupPlan | undefined;
  readonly missing: readonly Missing[];
  /** By stage; those that were left out are not in it. */
  readonly stages: readonly PlannedStage[];
}

export interface PlannedStage extends Omit<StageLayers, 'files'> {
  /** Undefined: the domain that it was born in, if any. */
  readonly ruleset: StageRuleset | undefined;
}

/** CLONE_NEW*, include/uapi/linux/sched.h, by the names of /proc/PID/ns. */
const cloneBits: Readonly<Record<string, number>> = {
  mnt: 0x0002_0000,
  cgroup: 0x0200_0000,
  uts: 0x0400_0000,
  pid: 0x2000_0000,
  ipc: 0x0800_0000,
  user: 0x1000_0000,
  net: 0x4000_0000,
};

/** First Landlock ABI that has it. */
const tcpAbi = 4;
const scopesAbi = 6;
const bindAndConnect = 3n;
const abstractSocketsAndSignals = 3n;

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
  // Asked only where a miss is no failure of the launch: the stager tells of it otherwise.
  const lackOf = (name: LayerName, probed: string): string | undefined =>
    wanted.optional?.includes(name) === true ? probe(probed) : undefined;
  const pidLack = lackOf('namespace-pid', 'pid-namespaces');
  const namespaces = layers.namespaces
    .filter((kind) =>
      kind === 'pid'
        ? has('namespace-pid', pidLack === undefined, pidLack ?? '', 'start the launcher as root')
        : !leaves(`namespace-${kind}`),
    )
    .map((kind): string => (kind === 'mount' ? 'mnt' : kind));
  if (!isRoot && namespaces.length > 0) namespaces.unshift('user');
  const privileged = isRoot || namespaces.length > 0;
  const abi = native.landlockAbi();
  const older = `Landlock here has ABI ${abi}`;
  const files = has('landlock-files', abi > 0, 'the kernel has no Landlock', 'boot with lsm=landlock,... (Linux 5.13)');
  const tcp = has('landlock-tcp', abi >= tcpAbi, older, 'use Linux 6.7');
  const scopes = has('landlock-scopes', abi >= scopesAbi, older, 'use Linux 6.12');
  const root = rootPlan(layers, { profile, path, namespaces, missing, lackOf, has });
  // In a root that has only what was granted, the way there may be seen.
  const way = root !== undefined && layers.files.folders === 'whole' ? [{ path: '/', uses: ['list'] as const }] : [];
  const rulesOf = (paths: readonly GrantedPath[]): LandlockRules =>
    landlockRules([
      ...way,
      ...paths
        .filter(({ path: asked }) => root === undefined || !asked.startsWith('/proc/'))
        .map(({ path: asked, uses }) => ({ path: realpathSync(asked), uses })),
    ]);
  const rules = files ? rulesOf(grantedPaths(layers, profile, path)) : undefined;
  const user =
    wanted.user !== undefined && has('user', isRoot, 'only root may become another user', 'start the launcher as root')
      ? wanted.user
      : undefined;
  const mac = macPlan(wanted.mac ?? layers.mac, has);
  const rlimits = !leaves('rlimits');
  const cgroup = leaves('cgroup') ? undefined : cgroupPlan(layers, wanted, has);
  return {
    namespaces,
    root,
    user,
    securebits: has('securebits', privileged, 'it takes CAP_SETPCAP', 'start the launcher as root, or use a namespace'),
    bounding: privileged,
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
    rlimits: rlimits ? (layers.rlimits ?? {}) : {},
    mac,
    cgroup,
    missing,
    stages: layers.stages.map((stage) => ({
      root: root === undefined ? 'whole' : stage.root,
      ruleset: files && stage.files !== undefined ? planRuleset(stage.files, profile, rulesOf) : undefined,
      rlimits: rlimits ? stage.rlimits : {},
      cgroup: cgroup === undefined ? {} : stage.cgroup,
    })),
  };
}

/** Undefined where the profile has none, or it was left out. */
function rootPlan(
  layers: Layers,
  options: {
    readonly profile: ResolvedProfile;
    readonly path: string;
    readonly namespaces: readonly string[];
    readonly missing: Missing[];
    readonly lackOf: (name: 'root', probed: string) => string | undefined;
    readonly has: (name: 'root', there: boolean, lack: string, cure: string) => boolean;
  },
): RootPlan | undefined {
  const { profile, path, namespaces, missing, lackOf, has } = options;
  if (layers.root !== 'minimal') return undefined;
  if (!namespaces.includes('mnt')) {
    missing.push({ name: 'root', reason: 'it has no mount namespace of its own' });
    return undefined;
  }
  const someStay = layers.stages.some(({ root }) => root === 'granted');
  const plan = planRoot(
    grantedPaths(layers, profile, path).map(({ path: asked, uses, mapped, byOpen }) => ({
      path: asked,
      stays: byOpen && someStay,
      uses: [...(uses.includes('write') ? (['write'] as const) : []), ...(mapped ? (['execute'] as const) : [])],
    })),
  );
  const lack = plan === undefined ? 'everything was granted' : lackOf('root', 'own-root');
  const there = has('root', lack === undefined, lack ?? '', 'grant less, or leave the layer out');
  return there ? plan : undefined;
}

function macPlan(
  mac: Mac | undefined,
  has: (name: 'mac', there: boolean, lack: string, cure: string) => boolean,
): Mac | undefined {
  if (mac === undefined) return undefined;
  const lack = macLack(mac);
  return has('mac', lack === undefined, lack ?? '', 'boot with security=apparmor or security=selinux')
    ? mac
    : undefined;
}

function cgroupPlan(
  { cgroup: ofProfile }: Layers,
  { cgroup: ofLauncher }: LayerOptions,
  require: Parameters<typeof planCgroup>[1]['require'],
): CgroupPlan | undefined {
  if (ofProfile === undefined && ofLauncher === undefined) return undefined;
  const { parent, ...limits } = ofLauncher ?? {};
  return planCgroup(tighter(readCgroup(ofProfile ?? {}), readCgroup(limits)), { parent, require });
}

/** What the stager is told. */
export function stagerWords(plan: LayerPlan): readonly string[] {
  const { namespaces, root, user, securebits, landlock, mac } = plan;
  const bits = namespaces.reduce((sum, kind) => sum | (cloneBits[kind] ?? 0), 0);
  return [
    ...(bits === 0 ? [] : ['--namespaces', String(bits)]),
    ...(root === undefined ? [] : rootWords(root)),
    ...(user === undefined ? [] : ['--user', `${user}:${user}`]),
    ...(securebits ? ['--lock-securebits'] : []),
    ...(landlock === undefined ? [] : ['--landlock', `${landlock.fs}:${landlock.net}:${landlock.scoped}`]),
    ...(landlock?.paths ?? []).flatMap(({ path, access }) => ['--landlock-path', `${access}:${path}`]),
    ...rulesetWords(plan),
    ...(mac === undefined ? [] : macWords(mac)),
  ];
}

export function environmentFor(plan: LayerPlan, environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { environment: kept } = plan;
  if (kept === undefined) return environment;
  return Object.fromEntries(Object.entries(environment).filter(([name]) => kept.includes(name)));
}
