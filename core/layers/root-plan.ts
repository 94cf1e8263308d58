// SPDX-License-Identifier: Apache-2.0
// What a minimal root holds: each path that was granted, where it is, and the links that lead to it.
import { lstatSync, readlinkSync, statSync } from 'node:fs';
import { posix } from 'node:path';
import type { StageRoot } from '../policy/index.ts';

/** A path as somebody wrote it, and what may be done beneath it. */
export interface Granted {
  readonly path: string;
  readonly uses: readonly RootUse[];
  /** Later stages may keep it. */
  readonly stays?: boolean;
}

export type RootUse = 'write' | 'devices' | 'execute';

/** RootBindUses in native/stager/arguments.h. */
const useBits: Readonly<Record<RootUse, number>> = { write: 1, devices: 2, execute: 4 };

export interface RootPlan {
  /** Those within another come after it. `uses`: bits. */
  readonly binds: readonly { readonly path: string; readonly uses: number }[];
  readonly links: readonly { readonly path: string; readonly target: string }[];
  /** Those of the binds that a stage with `root: granted` keeps. */
  readonly staying: readonly string[];
  /** A /proc of its own, which shows itself alone. */
  readonly proc: boolean;
}

/** Paths that are not there are left out. Undefined when everything was granted: then there is nothing to leave out. */
export function planRoot(granted: readonly Granted[]): RootPlan | undefined {
  const links = new Map<string, string>();
  const binds = new Map<string, number>();
  const staying = new Set<string>();
  let proc = false;
  for (const { path, uses, stays } of granted) {
    const real = follow(path, links);
    if (real === '/') return undefined;
    if (real === undefined) continue;
    if (real === '/proc') proc = true;
    // Single files of /proc are the broker's to open: its own /proc has processes alone.
    else if (!real.startsWith('/proc/')) {
      binds.set(real, (binds.get(real) ?? 0) | bitsOf(real, uses));
      if (stays === true) staying.add(real);
    }
  }
  const sorted = [...binds].sort(([a], [b]) => a.length - b.length).map(([path, uses]) => ({ path, uses }));
  return {
    binds: sorted.filter(
      ({ path, uses }) =>
        staying.has(path) || !sorted.some((other) => contains(other.path, path) && (other.uses | uses) === other.uses),
    ),
    staying: sorted.map(({ path }) => path).filter((path) => staying.has(path)),
    links: [...links].map(([path, target]) => ({ path, target })),
    proc,
  };
}

function bitsOf(path: string, uses: readonly RootUse[]): number {
  const status = statSync(path);
  const device = status.isCharacterDevice() || status.isBlockDevice() || path === '/dev' || path.startsWith('/dev/');
  const narrowed = device ? [...uses.filter((use) => use !== 'execute'), 'devices' as const] : uses;
  return narrowed.reduce((bits, use) => bits | useBits[use], 0);
}

/** Whether it is the folder, or lies in it. */
export function within(path: string, folder: string): boolean {
  return path === folder || contains(folder, path);
}

function contains(folder: string, path: string): boolean {
  return path.startsWith(`${folder}/`);
}

/** Where the path leads, the links on the way noted; undefined when there is nothing. */
function follow(path: string, links: Map<string, string>): string | undefined {
  let real = '/';
  let rest = path.split('/').filter((part) => part !== '' && part !== '.');
  const found: [string, string][] = [];
  // What path_resolution(7) says.
  const mostLinks = 40;
  for (let part = rest.shift(); part !== undefined; part = rest.shift()) {
    if (part === '..') {
      real = posix.dirname(real);
      continue;
    }
    const at = posix.join(real, part);
    const status = lstatSync(at, { throwIfNoEntry: false });
    if (status === undefined || found.length > mostLinks) return undefined;
    if (!status.isSymbolicLink()) {
      real = at;
      continue;
    }
    const target = readlinkSync(at);
    found.push([at, target]);
    if (target.startsWith('/')) real = '/';
    rest = [...target.split('/').filter((each) => each !== '' && each !== '.'), ...rest];
  }
  for (const [at, target] of found) links.set(at, target);
  return real;
}

/** What the stager is told. */
export function rootWords({ binds, links, proc }: RootPlan): readonly string[] {
  return [
    '--new-root',
    ...links.flatMap(({ path, target }) => ['--root-link', `${Buffer.byteLength(path)}:${path}${target}`]),
    ...binds.flatMap(({ path, uses }) => ['--root-bind', `${uses}:${path}`]),
    ...(proc ? ['--root-proc'] : []),
  ];
}

/** Where something is mounted in it, as far as a stage leaves it, and whether that is read-only; the root itself first. */
export function mountsOf(
  { binds, proc, staying }: RootPlan,
  root: StageRoot,
): ReadonlyMap<string, { readonly readOnly: boolean }> {
  const left = { whole: binds, granted: binds.filter(({ path }) => staying.includes(path)), empty: [] }[root];
  return new Map([
    ['/', { readOnly: true }],
    ...left.map(({ path, uses }) => [path, { readOnly: (uses & useBits.write) === 0 }] as const),
    ...(proc && root === 'whole' ? [['/proc', { readOnly: true }] as const] : []),
  ]);
}
