// SPDX-License-Identifier: Apache-2.0
import { statSync } from 'node:fs';
import { dirname } from 'node:path';
import { type LandlockRules, native } from '../../native/index.ts';
import { RatchetError } from '../errors.ts';

/** What may be done beneath a path. `make`: new files; `bind`: new sockets; `list`: names; `whole`: all names but those of devices, made and removed; `execute`: programs and their loader. */
export type PathUse = 'execute' | 'read' | 'write' | 'make' | 'bind' | 'remove' | 'list' | 'whole';

export interface PathRoot {
  readonly path: string;
  readonly uses: readonly PathUse[];
}

/** LANDLOCK_ACCESS_FS_*, include/uapi/linux/landlock.h. */
const right = {
  execute: 1n << 0n,
  writeFile: 1n << 1n,
  readFile: 1n << 2n,
  readDirectory: 1n << 3n,
  removeFolder: 1n << 4n,
  removeFile: 1n << 5n,
  makeFolder: 1n << 7n,
  makeFile: 1n << 8n,
  makeSocket: 1n << 9n,
  makeFifo: 1n << 10n,
  makeLink: 1n << 12n,
  refer: 1n << 13n,
  truncate: 1n << 14n,
} as const;

const rightsOf: Readonly<Record<PathUse, bigint>> = {
  execute: right.execute,
  read: right.readFile | right.readDirectory,
  write: right.writeFile | right.truncate,
  make: right.makeFile,
  bind: right.makeSocket,
  remove: right.removeFile,
  list: right.readDirectory,
  whole:
    right.removeFolder |
    right.removeFile |
    right.makeFolder |
    right.makeFile |
    right.makeSocket |
    right.makeFifo |
    right.makeLink |
    right.refer,
};

/** The rights that a rule on a file, not a directory, may have. */
const rightsOnFiles = right.execute | right.writeFile | right.readFile | right.truncate;

/**
 * A domain in which nothing of the file system may be used but what the roots say. A root that is not there gives its rights to the nearest directory
 * that is: the file may be made later. Device ioctls are left alone, since a right that is missing at open(2) is missing for whoever gets the fd.
 * @throws RatchetError KERNEL_UNSUPPORTED without Landlock.
 */
export function landlockRules(roots: readonly PathRoot[]): LandlockRules {
  const abi = native.landlockAbi();
  if (abi === 0)
    throw new RatchetError('KERNEL_UNSUPPORTED', 'this kernel has no Landlock, or it is switched off', {
      errno: 'EOPNOTSUPP',
      next: 'boot with lsm=landlock,... (Linux 5.13), or say that it may be missing',
    });
  const handled = handledBy(abi);
  const rights = new Map<string, bigint>();
  for (const { path, uses } of roots) {
    const wanted = uses.reduce((bits, use) => bits | rightsOf[use], 0n);
    const found = nearest(path);
    const access = handled & (found.isDirectory ? wanted : wanted & rightsOnFiles);
    if (access !== 0n) rights.set(found.path, (rights.get(found.path) ?? 0n) | access);
  }
  return { handled, scoped: 0n, rights: [...rights].map(([path, access]) => ({ path, access })) };
}

/** Every right of the file system up to TRUNCATE that the ABI knows: 13 in the first, then REFER (2) and TRUNCATE (3). */
function handledBy(abi: number): bigint {
  return (1n << BigInt(Math.min(15, 12 + abi))) - 1n;
}

function nearest(path: string): { readonly path: string; readonly isDirectory: boolean } {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found !== undefined) return { path, isDirectory: found.isDirectory() };
  return path === '/' ? { path, isDirectory: true } : nearest(dirname(path));
}
