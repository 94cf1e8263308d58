// SPDX-License-Identifier: Apache-2.0
import { RatchetError } from '../errors.ts';
import type { Action, FilterPolicy, ResolvedProfile, Rule, SyscallRules } from '../policy/types.ts';

/**
 * The profile for a process that nobody supervises: its refusals are answered by the kernel alone, whether they are quiet or not.
 * @throws RatchetError PROFILE_INVALID for a call that is left to a broker, and for a stage with `requires`.
 */
export function unsupervised(profile: ResolvedProfile): ResolvedProfile {
  const demanding = profile.stages.find(({ requires }) => requires !== undefined);
  if (demanding !== undefined)
    throw new RatchetError(
      'PROFILE_INVALID',
      `stage ${demanding.name} of ${profile.name} has \`requires\`, and nobody looks at a process that supervises itself`,
      { next: 'leave `requires` out, and see to it before the stage is entered' },
    );
  const stages = profile.stages.map((stage) => ({
    ...stage,
    filter: policy(stage.filter),
    roles: Object.fromEntries(Object.entries(stage.roles).map(([role, filter]) => [role, policy(filter)])),
  }));
  return { ...profile, stages };
}

function policy(filter: FilterPolicy): FilterPolicy {
  return {
    ...filter,
    syscalls: filter.syscalls.map(syscall),
    otherwise: action(filter.otherwise),
    unknown: action(filter.unknown),
    foreign: action(filter.foreign),
  };
}

function syscall(rules: SyscallRules): SyscallRules {
  return {
    ...rules,
    rules: rules.rules.map((given): Rule => ({ ...given, action: action(given.action, given) })),
    otherwise: action(rules.otherwise, rules.otherwiseRule),
  };
}

function action(given: Action, rule?: Rule): Action {
  if (given.kind === 'errno') return { ...given, quiet: true };
  if (given.kind !== 'broker') return given;
  const where = rule === undefined ? '' : ` (${rule.source.file}:${rule.source.line})`;
  throw new RatchetError(
    'PROFILE_INVALID',
    `a process that supervises itself has no broker to leave a call to${where}`,
    {
      next: 'allow or refuse the call',
    },
  );
}
