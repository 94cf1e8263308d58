// SPDX-License-Identifier: Apache-2.0
// Finds and reads profiles: a bare name is one of the shipped ones, everything else a path.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve, sep } from 'node:path';
import { packagePath } from '../native/package-path.ts';
import { RatchetError } from './errors.ts';
import {
  type Include,
  type Layers,
  type ProfileFeature,
  parseProfile,
  readFeatures,
  readLayers,
  suggestion,
} from './policy/index.ts';
import type { Arch, ResolvedProfile } from './policy/types.ts';

export interface LoadOptions {
  /** The architecture of this machine when absent. */
  readonly arch?: Arch;
  readonly features?: readonly string[];
}

/**
 * Loads a profile: a shipped one by name (`qemu`), a file by path, or an object of the same form.
 * Throws PROFILE_NOT_FOUND, or PROFILE_INVALID with all problems.
 */
export function loadProfile(
  profile: string | object,
  { arch = hostArch(), features = [] }: LoadOptions = {},
): ResolvedProfile {
  const { text, file, folder } = typeof profile === 'string' ? readProfileText(profile) : objectText(profile);
  return parseProfile(text, { file, arch, features, include: includeFrom(folder) });
}

/** What confines programs of a profile besides its filters. Throws as `loadProfile()` does. */
export function loadLayers(profile: string | object): Layers | undefined {
  const { text, file } = typeof profile === 'string' ? readProfileText(profile) : objectText(profile);
  return readLayers(text, file);
}

/** The features that can be chosen of a profile. Throws as `loadProfile()` does. */
export function loadFeatures(
  profile: string | object,
  { arch = hostArch() }: Pick<LoadOptions, 'arch'> = {},
): readonly ProfileFeature[] {
  const { text, file, folder } = typeof profile === 'string' ? readProfileText(profile) : objectText(profile);
  return readFeatures(text, { file, arch, include: includeFrom(folder) });
}

/** The text of a profile and where it is, for callers that parse it themselves. */
export function readProfileText(name: string): {
  readonly text: string;
  readonly file: string;
  readonly folder: string;
} {
  const file = profilePath(name);
  if (!existsSync(file)) {
    const shipped = shippedProfiles();
    throw new RatchetError(
      'PROFILE_NOT_FOUND',
      `cannot find the profile "${name}" (looked at ${file})${suggestion(name, shipped)}`,
      {
        errno: 'ENOENT',
        next: `give the path of a file, or one of ${shipped.join(', ')}`,
      },
    );
  }
  return { text: readText(file), file: isBareName(name) ? `profiles/${name}.yaml` : name, folder: dirname(file) };
}

/** Names of the profiles in the package. */
export function shippedProfiles(): readonly string[] {
  const files = readdirSync(packagePath('profiles'));
  return files
    .filter((file) => file.endsWith('.yaml'))
    .map((file) => file.slice(0, -'.yaml'.length))
    .sort();
}

/** This machine's architecture. Throws KERNEL_UNSUPPORTED where there is no syscall table for it. */
export function hostArch(): Arch {
  switch (process.arch) {
    case 'x64':
      return 'x86_64';
    case 'arm64':
      return 'aarch64';
    case 'riscv64':
      return 'riscv64';
    default:
      throw new RatchetError('KERNEL_UNSUPPORTED', `there is no system call table for ${process.arch}`, {
        next: 'use x86_64, aarch64 or riscv64',
      });
  }
}

/**
 * Included files stand in the folder of the profile, or else among the shipped ones (so that own profiles can use the shipped groups).
 * A name has no extension and cannot lead out of those folders.
 */
function includeFrom(folder: string | undefined): Include {
  return (name) => {
    const folders = [...(folder === undefined ? [] : [folder]), packagePath('profiles')];
    for (const candidate of folders) {
      const file = resolve(candidate, `${name}.yaml`);
      if (!file.startsWith(resolve(candidate) + sep)) {
        throw new RatchetError('PROFILE_NOT_FOUND', 'the name leads out of the folder', {
          next: 'use a name such as groups/threads',
        });
      }
      if (existsSync(file)) return { text: readText(file), file: shownName(file) };
    }
    throw new RatchetError('PROFILE_NOT_FOUND', `there is no ${name}.yaml in ${folders.map(shownName).join(' or ')}`, {
      errno: 'ENOENT',
    });
  };
}

/** Shipped files are shown as `profiles/...`, wherever the package is installed. */
function shownName(file: string): string {
  const shipped = packagePath('profiles');
  return file === shipped || file.startsWith(shipped + sep) ? join('profiles', file.slice(shipped.length)) : file;
}

function objectText(profile: object): { text: string; file: string; folder: undefined } {
  return { text: JSON.stringify(profile, undefined, 2), file: '<object>', folder: undefined };
}

function profilePath(name: string): string {
  return isBareName(name) ? packagePath(`profiles/${name}.yaml`) : resolve(name);
}

function isBareName(name: string): boolean {
  return /^[a-z][a-z0-9-]*$/.test(name);
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'EIO';
    throw new RatchetError('PROFILE_NOT_FOUND', `cannot read the profile ${file}`, { errno: code, cause: error });
  }
}
