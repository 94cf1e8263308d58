// SPDX-License-Identifier: Apache-2.0
import { RatchetError } from '../errors.ts';
import type { ResolvedProfile } from './types.ts';

/**
 * The profile with some stages in soak: the broker lets through and reports what they refuse aloud, and their roles have no filters of their own, whose
 * refusals would be the kernel's. `true` means all stages. What stays refused: quiet refusals, which callers expect; kills; and what a handler judges
 * by the caller's memory.
 * @throws RatchetError STAGE_UNKNOWN.
 */
export function withSoak(profile: ResolvedProfile, soak: true | readonly string[]): ResolvedProfile {
  const names = profile.stages.map(({ name }) => name);
  for (const stage of soak === true ? [] : soak) {
    if (names.includes(stage)) continue;
    throw new RatchetError('STAGE_UNKNOWN', `the profile has no stage ${stage} to soak`, {
      next: `it has ${names.join(', ')}`,
    });
  }
  return {
    ...profile,
    stages: profile.stages.map((stage) =>
      soak === true || soak.includes(stage.name) ? { ...stage, soak: true, roles: {} } : stage,
    ),
  };
}
