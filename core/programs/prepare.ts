// SPDX-License-Identifier: Apache-2.0
import { compileProfile } from '../compiler/index.ts';
import { RatchetError } from '../errors.ts';
import { type LayerPlan, planLayers } from '../layers/plan.ts';
import { assertLaunchable } from '../policy/index.ts';
import { assertConfinesProgram } from '../policy/program-profile.ts';
import type { NamedProgram, ResolvedProfile } from '../policy/types.ts';
import { hostArch, loadLayers, loadProfile } from '../profile-files.ts';
import { type PinnedFile, pinFile } from './pinned-file.ts';

/** A program that can be started at once: everything that can be wrong with it was found out at launch. */
export interface PreparedProgram {
  readonly program: NamedProgram;
  readonly file: PinnedFile;
  /** Its profile, of one stage. */
  readonly profile: ResolvedProfile;
  readonly filter: Uint8Array;
  readonly plan: LayerPlan;
}

/** Those that some stage of the VM's profile grants, or lets be granted, by name. @throws RatchetError PROFILE_INVALID, PROFILE_NOT_FOUND, VMM_NOT_FOUND, KERNEL_UNSUPPORTED. */
export function preparePrograms(vm: ResolvedProfile): ReadonlyMap<string, PreparedProgram> {
  const granted = new Set(
    vm.stages
      .flatMap(({ broker }) => broker)
      .filter(({ request, refuseErrno }) => request === 'exec' && refuseErrno === undefined)
      .map(({ target }) => target),
  );
  const programs = (vm.programs ?? []).filter(({ name }) => granted.has(name));
  return new Map(programs.map((program) => [program.name, prepare(program)]));
}

const compiled = new Map<string, { readonly profile: ResolvedProfile; readonly filter: Uint8Array }>();

function prepare(program: NamedProgram): PreparedProgram {
  const file = pinFile(program.path);
  const { profile, filter } = compiledProfile(program.profile);
  const layers = loadLayers(program.profile);
  if (layers === undefined)
    throw new RatchetError('PROFILE_INVALID', `profile ${profile.name} has no layers, and a named program needs them`, {
      next: 'start from profiles/named-program.yaml',
    });
  const plan = planLayers({ layers, profile, path: file.path, wanted: {} });
  return { program, file, profile, filter, plan };
}

/** A shipped one is compiled and proven once in a launcher's life. */
function compiledProfile(name: string): { readonly profile: ResolvedProfile; readonly filter: Uint8Array } {
  const known = compiled.get(name);
  if (known !== undefined) return known;
  const profile = loadProfile(name, { arch: hostArch() });
  assertConfinesProgram(profile);
  assertLaunchable(profile);
  const filter = compileProfile(profile).stages[0]?.program;
  if (filter === undefined) throw new RatchetError('PROFILE_INVALID', `profile ${profile.name} has no stage`);
  const result = { profile, filter };
  if (!name.startsWith('/')) compiled.set(name, result);
  return result;
}
