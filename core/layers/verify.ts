// SPDX-License-Identifier: Apache-2.0
// The layers looked at from outside, in /proc. Landlock is not shown there: of it counts that the stager, which is ours, came through its step.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type { Mechanism } from '../launch/report.ts';
import { statusField } from '../stages/tasks.ts';
import { verifyMac } from './mac.ts';
import type { LayerPlan } from './plan.ts';
import { verifyRuleset } from './stage-ruleset.ts';
import { verifyRlimits } from './verify-limits.ts';
import { verifyRoot } from './verify-root.ts';

export interface LookOptions {
  /** The stager still has what exec takes away. */
  readonly beforeExec?: boolean;
  /** Which stage it is in. */
  readonly epoch?: number;
  /** How many threads entered the present stage's Landlock domain by themselves; undefined while it is the one that the program was born in. */
  readonly restricted?: number | undefined;
}

/** One row a layer, those that are missing included. @throws when the process is gone. */
export function verifyLayers(
  pid: number,
  plan: LayerPlan,
  { beforeExec = false, epoch = 0, restricted }: LookOptions = {},
): readonly Mechanism[] {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const { root = 'whole', rlimits = plan.rlimits, ruleset } = plan.stages[epoch] ?? {};
  return [
    ...plan.namespaces.map((kind) => namespace(pid, kind)),
    ...(plan.user === undefined ? [] : [user(status, plan.user)]),
    ...(beforeExec ? [] : [capabilities(status, plan)]),
    ...(plan.securebits
      ? [row('securebits', true, 'uid 0 gains nothing by an exec, and nobody raises ambient capabilities; locked')]
      : []),
    ...landlock(plan, ruleset && restricted !== undefined ? verifyRuleset(ruleset, restricted) : undefined),
    ...(plan.mac === undefined ? [] : [verifyMac(pid, plan.mac, { beforeExec })]),
    ...(plan.environment === undefined ? [] : [environment(pid, plan.environment)]),
    ...(Object.keys(rlimits).length === 0 ? [] : [verifyRlimits(pid, rlimits)]),
    ...(plan.root === undefined ? [] : [verifyRoot(pid, plan.root, root)]),
    ...plan.missing.map(({ name, reason }) => ({ name, state: 'absent' as const, reason })),
    {
      name: 'not-dumpable',
      state: 'absent',
      reason:
        'the broker reads addresses from its memory as the same user; core dumps are off, and Landlock keeps others from tracing',
    },
  ];
}

function row(name: string, holds: boolean, reason: string): Mechanism {
  return { name, state: holds ? 'enforced' : 'partial', reason };
}

function namespace(pid: number, kind: string): Mechanism {
  const own = readlinkSync(`/proc/self/ns/${kind}`);
  const theirs = readlinkSync(`/proc/${pid}/ns/${kind}`);
  const name = `namespace-${kind === 'mnt' ? 'mount' : kind}`;
  return own === theirs ? row(name, false, `it is in the launcher's (${own})`) : row(name, true, theirs);
}

function user(status: string, wanted: number): Mechanism {
  const ids = ['Uid', 'Gid'].map((field) => statusField(status, field).split(/\s+/));
  const groups = statusField(status, 'Groups').trim();
  const holds = ids.flat().every((id) => Number(id) === wanted) && groups === '';
  return row('user', holds, holds ? `${wanted}, no further groups` : `uid ${ids[0]}, gid ${ids[1]}, groups ${groups}`);
}

/** A launcher without privileges cannot empty the bounding set, and need not: no exec gains anything of it under no_new_privs, which is checked in every thread. */
function capabilities(status: string, { bounding }: LayerPlan): Mechanism {
  const sets = ['CapInh', 'CapPrm', 'CapEff', 'CapAmb', ...(bounding ? ['CapBnd'] : [])];
  const held = sets.filter((field) => BigInt(`0x${statusField(status, field)}`) !== 0n);
  const none = bounding
    ? 'none in any set, bounding and ambient included'
    : 'none; the bounding set stays, without privileges, and no_new_privs keeps an exec from gaining any of it';
  return row('capabilities', held.length === 0, held.length === 0 ? none : `${held.join(', ')} not empty`);
}

/** `files`: where a later stage has made them fewer. */
function landlock({ landlock: domain }: LayerPlan, files: Mechanism | undefined): readonly Mechanism[] {
  if (domain === undefined) return [];
  const told = 'the stager came through; the kernel does not show it';
  return [
    ...(domain.fs === 0n ? [] : [files ?? row('landlock-files', true, `${domain.paths.length} paths; ${told}`)]),
    ...(domain.net === 0n ? [] : [row('landlock-tcp', true, `no bind and no connect of its own; ${told}`)]),
    ...(domain.scoped === 0n
      ? []
      : [row('landlock-scopes', true, `signals and abstract sockets stay inside; ${told}`)]),
  ];
}

function environment(pid: number, kept: readonly string[]): Mechanism {
  const names = readFileSync(`/proc/${pid}/environ`, 'utf8')
    .split('\0')
    .filter((entry) => entry !== '')
    .map((entry) => entry.split('=')[0] ?? '');
  const others = names.filter((name) => !kept.includes(name));
  return row(
    'environment',
    others.length === 0,
    others.length === 0 ? names.join(', ') || 'empty' : `it has ${others.join(', ')} too`,
  );
}

const closeOnExec = 0o2000000;

/**
 * Which descriptors the program will be born with, looked at while its exec waits for the broker: those that are not closed by it.
 * @param expected the numbers that it was given. @throws when the process is gone.
 */
export function verifyDescriptors(pid: number, expected: readonly number[]): Mechanism {
  const surviving = readdirSync(`/proc/${pid}/fdinfo`)
    .map(Number)
    .filter((fd) => !isClosedByExec(pid, fd))
    .sort((a, b) => a - b);
  const wanted = [...expected].sort((a, b) => a - b);
  const same = surviving.join() === wanted.join();
  return row(
    'descriptors',
    same,
    same
      ? `born with exactly ${surviving.join(', ')}`
      : `born with ${surviving.join(', ')}, not with ${wanted.join(', ')}`,
  );
}

function isClosedByExec(pid: number, fd: number): boolean {
  try {
    const flags = /^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'))?.[1] ?? '0';
    return (Number.parseInt(flags, 8) & closeOnExec) !== 0;
  } catch (error) {
    // Closed since it was listed: the stager gives its listener away just now.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return true;
    throw error;
  }
}
