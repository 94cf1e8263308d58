// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { packagePath } from '../../native/package-path.ts';
import { errnoName } from '../errno-name.ts';

/** What the kernel says to one of `ratchet doctor`'s probes (native/probe/main.cc), as this user; undefined: it works. */
export function probe(name: string): string | undefined {
  const { stdout } = spawnSync(packagePath('build/Release/ratchet-probe'), [name], { encoding: 'utf8' });
  const found = JSON.parse(stdout) as { readonly errno: number; readonly detail: string };
  return found.errno === 0 ? undefined : `${found.detail} (${errnoName(found.errno)})`;
}
