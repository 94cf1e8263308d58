// SPDX-License-Identifier: Apache-2.0
import { type CompiledStage, compileProfile } from '../../core/compiler/index.ts';
import { countsOption } from '../../core/profile-counts.ts';
import { loadProfile } from '../../core/profile-files.ts';

/** The programs of the profile `qemu`, as `launch()` and `ratchet compile` make them. */
export function shippedPrograms(): readonly CompiledStage[] {
  const profile = loadProfile('qemu');
  return compileProfile(profile, countsOption(profile)).stages;
}
