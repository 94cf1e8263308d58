// SPDX-License-Identifier: Apache-2.0
import { RatchetError } from '../errors.ts';
import { decide } from '../policy/evaluate.ts';
import type { FilterPolicy, ResolvedProfile } from '../policy/types.ts';
import { constantValue } from '../tables/index.ts';

/**
 * Refuses a profile whose roles could not be given to the threads of a running VMM.
 * @throws RatchetError PROFILE_INVALID.
 */
export function assertRolesCanBeGiven(profile: ResolvedProfile, filterable: readonly string[]): void {
  const first = profile.stages.findIndex(({ roles }) => Object.keys(roles).length > 0);
  if (first < 0) return;
  for (const { name, roles } of profile.stages)
    for (const role of Object.keys(roles)) {
      if (filterable.includes(role)) continue;
      throw impossible(
        profile,
        `stage ${name} has rules for role ${role}, which no thread can be given`,
        `${filterable.length === 0 ? 'this VMM has no roles' : `there are ${filterable.join(' and ')}`}; other threads come and go unseen and have what the thread has that made them: write the rules for them as the stage's own`,
      );
    }
  if (first === 0)
    throw impossible(
      profile,
      `stage ${profile.stages[0]?.name} has roles, but it is entered before there are threads`,
      'write roles from the second stage on',
    );
  profile.stages.slice(first).forEach(({ name, filter, roles }, index, later) => {
    assertPermitsFilters(profile, `stage ${name}`, filter);
    if (index === later.length - 1) return;
    for (const [role, policy] of Object.entries(roles))
      assertPermitsFilters(profile, `role ${role} of stage ${name}`, policy);
  });
}

/** Each thread is made to call it for itself: threads that differ cannot be synchronised. */
function assertPermitsFilters(profile: ResolvedProfile, what: string, policy: FilterPolicy): void {
  const action = decide(policy, 'seccomp', [
    constantValue(policy.arch, 'SECCOMP_SET_MODE_FILTER') ?? 1n,
    0n,
    0x7f0000000000n,
  ]);
  if (action.kind === 'allow' || action.kind === 'log') return;
  throw impossible(
    profile,
    `${what} does not let a thread be given a filter of its own, which roles need`,
    'allow seccomp when operation == SECCOMP_SET_MODE_FILTER and flags in [0, SECCOMP_FILTER_FLAG_TSYNC]',
  );
}

function impossible(profile: ResolvedProfile, what: string, next: string): RatchetError {
  return new RatchetError('PROFILE_INVALID', `${profile.file}: ${what}`, { next });
}
