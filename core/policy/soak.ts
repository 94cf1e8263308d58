// SPDX-License-Identifier: Apache-2.0
import { RatchetError } from '../errors.ts';
import type { Action, FilterPolicy, ResolvedProfile } from './types.ts';

/**
 * The profile with some stages in soak: the broker lets through and reports what they refuse aloud, and a role's refusals become audit records.
 * `true` means all stages. What stays refused: quiet refusals, which callers expect; kills; and what a handler judges by the caller's memory.
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
    stages: profile.stages.map((stage) => {
      if (soak !== true && !soak.includes(stage.name)) return stage;
      const roles = Object.entries(stage.roles).map(([role, policy]) => [role, logging(policy)]);
      return { ...stage, soak: true, roles: Object.fromEntries(roles) };
    }),
  };
}

/** A role's refusals are the kernel's own, which no broker hears of: it can be asked to log instead. */
function logging(policy: FilterPolicy): FilterPolicy {
  const logged = (action: Action): Action => (action.kind === 'errno' && !action.quiet ? { kind: 'log' } : action);
  return {
    ...policy,
    syscalls: policy.syscalls.map((entry) => ({
      ...entry,
      rules: entry.rules.map((rule) => ({ ...rule, action: logged(rule.action) })),
      otherwise: logged(entry.otherwise),
    })),
    otherwise: logged(policy.otherwise),
  };
}
