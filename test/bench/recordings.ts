// SPDX-License-Identifier: Apache-2.0
import { readdirSync } from 'node:fs';
import { resolveCounts, resolveRoleCounts } from '../../core/compiler/counts.ts';
import type { CallCounts } from '../../core/compiler/index.ts';
import { readCounts } from '../../core/profile-counts.ts';
import { packagePath } from '../../native/package-path.ts';

export interface Recording {
  readonly name: string;
  readonly counts: CallCounts;
  /** Those of the threads of a role. */
  readonly roles: Readonly<Record<string, CallCounts>>;
}

/** The recorded calls of test/bench/recordings, by name. */
export function recordings(): readonly Recording[] {
  const folder = packagePath('test/bench/recordings');
  return readdirSync(folder)
    .filter((file) => file.endsWith('.json'))
    .sort()
    .map((file) => {
      const path = `${folder}/${file}`;
      const document = readCounts(path);
      const counts = resolveCounts(document, 'x86_64', path);
      return { name: file.slice(0, -'.json'.length), counts, roles: resolveRoleCounts(document, 'x86_64', path) };
    });
}
