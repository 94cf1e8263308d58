// SPDX-License-Identifier: Apache-2.0
import { RatchetError } from '../errors.ts';
import type { Arch, FilterPolicy, ResolvedProfile, ResolvedStage } from '../policy/types.ts';
import { hostArch } from '../profile-files.ts';
import { archNames } from '../tables/index.ts';

/** @throws RatchetError ARGUMENT_INVALID. */
export function chosenArch(name: string | undefined): Arch {
  if (name === undefined) return hostArch();
  const arch = archNames.find((known) => known === name);
  if (arch === undefined)
    throw new RatchetError('ARGUMENT_INVALID', `there is no architecture ${name}`, {
      next: `there are ${archNames.join(', ')}`,
    });
  return arch;
}

/** The named stage, or the only one there is. @throws RatchetError STAGE_UNKNOWN. */
export function chosenStage(profile: ResolvedProfile, name: string | undefined): ResolvedStage {
  const [only, ...others] = profile.stages;
  if (name === undefined && only !== undefined && others.length === 0) return only;
  const stage = profile.stages.find((candidate) => candidate.name === name);
  if (stage !== undefined) return stage;
  const asked =
    name === undefined ? `profile ${profile.name} has several stages` : `profile ${profile.name} has no stage ${name}`;
  throw new RatchetError('STAGE_UNKNOWN', asked, {
    next: `name one of ${profile.stages.map((one) => one.name).join(', ')}`,
  });
}

/** The filter of a role, or of the whole process. @throws RatchetError ARGUMENT_INVALID. */
export function chosenFilter(stage: ResolvedStage, role: string | undefined): FilterPolicy {
  if (role === undefined) return stage.filter;
  const filter = stage.roles[role];
  if (filter !== undefined) return filter;
  const known = Object.keys(stage.roles).join(', ');
  throw new RatchetError('ARGUMENT_INVALID', `stage ${stage.name} has no rules for the role ${role}`, {
    next: known === '' ? 'leave --role out: it has no roles' : `it has ${known}`,
  });
}
