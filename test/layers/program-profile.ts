// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { load as parse } from 'js-yaml';
import { packagePath } from '../../native/package-path.ts';

/** The same profile for any program: nobody here speaks a daemon's protocol, or has threads with roles. */
export function programProfile(profile: string): Readonly<Record<string, unknown>> {
  const text = readFileSync(packagePath(`profiles/${profile}.yaml`), 'utf8');
  const raw = parse(text) as {
    readonly include: readonly string[];
    readonly stages: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  };
  const stages = Object.entries(raw.stages).map(([name, { roles: _, ...stage }]) => [name, stage]);
  const include = raw.include.filter((file) => file !== 'qemu/features');
  return { ...raw, vmm: 'program', include, stages: Object.fromEntries(stages) };
}
