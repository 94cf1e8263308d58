// SPDX-License-Identifier: Apache-2.0
import { readdirSync } from 'node:fs';
import { type ResolvedCounts, resolveCounts } from '../../core/compiler/counts.ts';
import { readCounts } from '../../core/profile-counts.ts';
import { packagePath } from '../../native/package-path.ts';

export interface Recording extends ResolvedCounts {
  readonly name: string;
}

/** The recorded calls of test/bench/recordings, by name. */
export function recordings(): readonly Recording[] {
  const folder = packagePath('test/bench/recordings');
  return readdirSync(folder)
    .filter((file) => file.endsWith('.json'))
    .sort()
    .map((file) => {
      const path = `${folder}/${file}`;
      return { name: file.slice(0, -'.json'.length), ...resolveCounts(readCounts(path), 'x86_64', path) };
    });
}
