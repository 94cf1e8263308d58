// SPDX-License-Identifier: Apache-2.0
import { RatchetError } from '../errors.ts';
import type { Mechanism } from '../launch/report.ts';
import type { Cgroup } from './cgroup.ts';
import type { LayerPlan } from './plan.ts';
import { rulesetFds } from './stage-ruleset.ts';
import { verifyDescriptors, verifyLayers } from './verify.ts';

/** What was found at birth of a program that has all of its layers, while its exec waits for an answer. @throws RatchetError VERIFICATION_FAILED. */
export function requireLayers(
  pid: number,
  plan: LayerPlan,
  fds: readonly number[],
  cgroup?: Cgroup,
): readonly Mechanism[] {
  const atBirth = [verifyDescriptors(pid, [...fds, ...rulesetFds(plan)])];
  const failed = [...verifyLayers(pid, plan, { beforeExec: true }), ...(cgroup?.verify(pid) ?? []), ...atBirth].find(
    ({ state }) => state === 'partial',
  );
  if (failed === undefined) return atBirth;
  throw new RatchetError('VERIFICATION_FAILED', `the layer ${failed.name} is not as it should be: ${failed.reason}`, {
    next:
      failed.name === 'mac'
        ? 'load the policy, in enforce mode; nothing of the program has run'
        : 'this is a bug; nothing of the program has run',
  });
}
