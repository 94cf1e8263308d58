// SPDX-License-Identifier: Apache-2.0
import { accessSync, constants, realpathSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { RatchetError } from '../errors.ts';

/** The executable that a shell would run for this name, as an absolute path with links resolved. */
export function findProgram(name: string, searchPath = process.env['PATH'] ?? ''): string {
  const candidates = name.includes('/')
    ? [resolve(name)]
    : searchPath.split(delimiter).map((folder) => join(folder || '.', name));
  for (const candidate of candidates) {
    if (isExecutable(candidate)) return realpathSync(candidate);
  }
  throw new RatchetError('VMM_NOT_FOUND', `there is no executable ${name}${name.includes('/') ? '' : ' in PATH'}`, {
    errno: 'ENOENT',
    next: name.includes('qemu')
      ? 'install it, on Debian: apt-get install qemu-system-x86'
      : 'check the name or install it',
  });
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
