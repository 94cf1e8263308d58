// SPDX-License-Identifier: Apache-2.0
import { compileProfile } from '../compiler/index.ts';
import { RatchetError } from '../errors.ts';
import { type LayerPlan, planLayers } from '../layers/plan.ts';
import { assertLaunchable } from '../policy/index.ts';
import { assertConfinesProgram } from '../policy/program-profile.ts';
import type { BrokerRule, NamedProgram, ResolvedProfile } from '../policy/types.ts';
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
  /** Stages of the VM's profile, by epoch, that grant it or let it be granted. */
  readonly epochs: ReadonlySet<number>;
}

/** Those that some stage of the VM's profile grants, or lets be granted, by name. @throws RatchetError PROFILE_INVALID, PROFILE_NOT_FOUND, VMM_NOT_FOUND, KERNEL_UNSUPPORTED. */
export function preparePrograms(vm: ResolvedProfile): ReadonlyMap<string, PreparedProgram> {
  const programs = (vm.programs ?? []).map((program) => ({ program, epochs: epochsOf(vm, program.name) }));
  const granted = programs.filter(({ epochs }) => epochs.size > 0);
  return new Map(granted.map(({ program, epochs }) => [program.name, prepare(program, epochs)]));
}

function epochsOf({ stages }: ResolvedProfile, name: string): ReadonlySet<number> {
  const grants = ({ request, target, refuseErrno }: BrokerRule): boolean =>
    request === 'exec' && target === name && refuseErrno === undefined;
  return new Set([...stages.keys()].filter((epoch) => stages[epoch]?.broker.some(grants)));
}

const compiled = new Map<string, { readonly profile: ResolvedProfile; readonly filter: Uint8Array }>();

function prepare(program: NamedProgram, epochs: ReadonlySet<number>): PreparedProgram {
  const file = pinFile(program.path);
  const { profile, filter } = compiledProfile(program.profile);
  const layers = loadLayers(program.profile);
  if (layers === undefined)
    throw new RatchetError('PROFILE_INVALID', `profile ${profile.name} has no layers, and a named program needs them`, {
      next: 'start from profiles/named-program.yaml',
    });
  if (layers.cgroup !== undefined)
    throw new RatchetError(
      'PROFILE_INVALID',
      `profile ${profile.name} asks for a control group, and a named program gets none`,
      {
        next: 'take `cgroup` out of its layers, and use rlimits',
      },
    );
  const plan = planLayers({ layers, profile, path: file.path, wanted: {} });
  return { program, file, profile, filter, plan, epochs };
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
