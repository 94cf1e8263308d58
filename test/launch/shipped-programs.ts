// SPDX-License-Identifier: Apache-2.0
import { compileProfile } from '../../core/compiler/index.ts';
import { countsOption } from '../../core/profile-counts.ts';
import { loadProfile } from '../../core/profile-files.ts';
import type { InstalledProgram } from '../../core/stages/verify.ts';

/** The programs of the profile `qemu`, as `launch()` and `ratchet compile` make them. */
export function shippedPrograms(): readonly InstalledProgram[] {
  const profile = loadProfile('qemu');
  return compileProfile(profile, countsOption(profile)).stages.map(({ name, program }) => ({ stage: name, program }));
}
