// SPDX-License-Identifier: Apache-2.0
// Counts files: `qemu.counts.json` beside `qemu.yaml`.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { packagePath } from '../native/package-path.ts';
import { type CountsDocument, parseCounts, resolveCounts } from './compiler/counts.ts';
import type { CompileOptions } from './compiler/target.ts';
import type { CallCounts } from './compiler/weights.ts';
import { RatchetError } from './errors.ts';
import type { ResolvedProfile } from './policy/types.ts';

/** The recorded calls of a profile, or undefined when there is no file of them. Throws PROFILE_INVALID for one that cannot be read. */
export function loadCounts(profile: Pick<ResolvedProfile, 'file' | 'arch'>): CallCounts | undefined {
  return countsOption(profile).counts;
}

/** What compileProfile() and compileFilter() want to know of a profile's recorded calls. Throws as loadCounts(). */
export function countsOption({
  file,
  arch,
}: Pick<ResolvedProfile, 'file' | 'arch'>): Pick<CompileOptions, 'counts' | 'stageCounts' | 'roleCounts'> {
  const path = countsFile(file);
  if (path === undefined || !existsSync(path)) return {};
  return resolveCounts(readCounts(path), arch, path);
}

export function readCounts(path: string): CountsDocument {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    const errno = cause instanceof Error && 'code' in cause ? String(cause.code) : 'EIO';
    throw new RatchetError('PROFILE_NOT_FOUND', `cannot read the counts ${path}`, { errno, cause });
  }
  return parseCounts(text, path);
}

export function writeCounts(path: string, document: CountsDocument): void {
  writeFileSync(path, `${JSON.stringify(document, undefined, 2)}\n`);
}

/** Undefined for a profile that is no file. Shipped profiles are named from the package's root, wherever that is. */
function countsFile(profileFile: string): string | undefined {
  const stem = /^(.+)\.(ya?ml|json)$/.exec(profileFile)?.[1];
  if (stem === undefined) return undefined;
  const own = `${stem}.counts.json`;
  if (existsSync(own) || !profileFile.startsWith('profiles/')) return own;
  return packagePath(own);
}
