// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { load as parse } from 'js-yaml';
import { untoldOfRoles } from '../../core/policy/dangerous.ts';
import { packagePath } from '../../native/package-path.ts';

type Profile = { stages: Record<string, { roles?: Record<string, unknown> }>; include: string[] } & Record<
  string,
  unknown
>;

/** The profile of QEMU with other roles: by stage, what each role may not call. */
export function profileWithRoles(
  removed: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>,
): Readonly<Record<string, unknown>> {
  const profile = parse(readFileSync(packagePath('profiles/qemu.yaml'), 'utf8')) as Profile;
  for (const stage of Object.values(profile.stages)) delete stage.roles;
  // Features add to the roles that were just taken out.
  profile.include = profile.include.filter((name) => name !== 'qemu/features');
  for (const [stage, roles] of Object.entries(removed))
    (profile.stages[stage] as Profile['stages'][string]).roles = Object.fromEntries(
      Object.entries(roles).map(([role, names]) => [
        role,
        { why: 'a test', remove: names, untold: names.filter((name) => untoldOfRoles.has(name)) },
      ]),
    );
  return profile;
}

export const vcpuAndIo = {
  running: { vcpu: ['bind', 'readv'], io: ['accept4', 'lseek'] },
  sealed: { vcpu: ['bind', 'readv', 'fstat'] },
} as const;
