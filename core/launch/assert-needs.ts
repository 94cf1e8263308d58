// SPDX-License-Identifier: Apache-2.0
import { RatchetError } from '../errors.ts';
import { summarizeFilter } from '../policy/index.ts';
import type { ResolvedProfile } from '../policy/types.ts';
import type { VmmNeed } from '../vmm/vmm.ts';

/**
 * To be called at the barrier: a VMM that would end of a refusal later is told of before its guest runs.
 * @param stages those that are about to be entered.
 * @throws RatchetError VMM_ARGUMENT_CONFLICT naming the feature.
 */
export function assertNeeds(needs: readonly VmmNeed[], profile: ResolvedProfile, stages: readonly string[]): void {
  for (const { syscall, because, next } of needs) {
    const unfit = profile.stages.find(
      ({ name, filter }) => stages.includes(name) && !summarizeFilter(filter).names.includes(syscall),
    );
    if (unfit !== undefined)
      throw new RatchetError('VMM_ARGUMENT_CONFLICT', `${because}, and stage ${unfit.name} does not allow ${syscall}`, {
        next,
      });
  }
}
