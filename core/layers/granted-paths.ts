// SPDX-License-Identifier: Apache-2.0
import { existsSync } from 'node:fs';
import { RatchetError } from '../errors.ts';
import { parsePathRule } from '../policy/address/index.ts';
import type { FileLists, Layers } from '../policy/index.ts';
import type { BrokerRule, ResolvedProfile, ResolvedStage } from '../policy/types.ts';
import type { PathRoot } from '../self/landlock.ts';

/** Who loads a program's libraries, by the C library and architecture. */
const loaders = [
  '/lib64/ld-linux-x86-64.so.2',
  '/lib/ld-linux-aarch64.so.1',
  '/lib/ld-linux-riscv64-lp64d.so.1',
  '/lib/ld-musl-x86_64.so.1',
  '/lib/ld-musl-aarch64.so.1',
];

/** A path as the profile has it. `mapped`: code of it may be mapped. */
export interface GrantedPath extends PathRoot {
  readonly mapped: boolean;
  /** `open` grants it. */
  readonly byOpen: boolean;
}

/** What the profile lists, as far as it is there; what its broker may open for it; and the program with its loader. */
export function grantedPaths({ files }: Layers, profile: ResolvedProfile, path: string): readonly GrantedPath[] {
  return [
    ...pathsOf(
      files,
      profile.stages.flatMap(({ broker }) => broker),
    ),
    ...[path, ...loaders].map((each) => ({
      path: each,
      uses: ['read', 'execute'] as const,
      mapped: true,
      byOpen: false,
    })),
  ].filter(isThere);
}

/** Of those, what a later stage leaves. */
export function pathsOfStage(files: FileLists, stage: ResolvedStage | undefined): readonly GrantedPath[] {
  return pathsOf(files, stage?.broker ?? []).filter(isThere);
}

function pathsOf({ read, write = [], folders }: FileLists, rules: readonly BrokerRule[]): readonly GrantedPath[] {
  const granted = rules
    .filter(({ request, refuseErrno }) => request === 'open' && refuseErrno === undefined)
    .map(({ target }): GrantedPath => {
      const { pattern, readOnly } = parsePathRule(target);
      if (folders === 'whole') assertFolder(pattern);
      const written: PathRoot['uses'] = folders === 'whole' ? ['read', 'write', 'whole'] : ['read', 'write'];
      return { path: beforeWildcard(pattern), uses: readOnly ? ['read'] : written, mapped: false, byOpen: true };
    });
  return [
    ...read.map((path): GrantedPath => ({ path, uses: ['read'], mapped: true, byOpen: false })),
    ...write.map((path): GrantedPath => ({ path, uses: ['read', 'write'], mapped: false, byOpen: false })),
    ...granted,
  ];
}

/** Who serves whole folders opens what it wants in them by itself: no broker would judge the rest of a pattern. */
function assertFolder(pattern: string): void {
  if (!pattern.replace(/\/\*\*$/, '').includes('*')) return;
  throw new RatchetError(
    'ARGUMENT_INVALID',
    `the grant open=${pattern} is no whole folder, and nothing less can be kept`,
    {
      next: 'grant open=FOLDER/**, or a file by its path',
    },
  );
}

function isThere({ path }: GrantedPath): boolean {
  return existsSync(path);
}

function beforeWildcard(pattern: string): string {
  const components = pattern.split('/');
  const wild = components.findIndex((part) => part.includes('*'));
  return wild < 0 ? pattern : components.slice(0, wild).join('/') || '/';
}
