// SPDX-License-Identifier: Apache-2.0
import { RatchetError } from '../errors.ts';
import type { ResolvedProfile } from './types.ts';

/**
 * The profile with some stages in soak: the broker lets through and reports what they and their roles refuse aloud. `true` means all stages. What stays refused:
 * quiet refusals, which callers expect; kills; what a handler judges by the caller's memory; and to roles the calls that are never notified.
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
      soak === true || soak.includes(stage.name) ? { ...stage, soak: true } : stage,
    ),
  };
}
