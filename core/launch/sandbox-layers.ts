// SPDX-License-Identifier: Apache-2.0
// What confines a VMM besides its filters: tightened before each stage's filter, and looked at again for each report.
import { RatchetError } from '../errors.ts';
import type { Cgroup } from '../layers/cgroup.ts';
import { RootEmptier } from '../layers/empty-root.ts';
import { narrowsRoot, tightenLayers } from '../layers/enter-stage.ts';
import type { LayerPlan } from '../layers/plan.ts';
import { verifyLayers } from '../layers/verify.ts';
import type { Mechanism } from './report.ts';

export interface SandboxLayers {
  readonly plan: LayerPlan;
  /** What was looked at before its first instruction. */
  readonly atBirth: readonly Mechanism[];
  readonly cgroup: Cgroup | undefined;
  readonly emptiers: ReadonlyMap<number, RootEmptier>;
}

/** Ready for the stages that narrow the program's root, by epoch. */
export function prepareEmptiers(plan: LayerPlan, pidfd: number): ReadonlyMap<number, RootEmptier> {
  const ownUsers = plan.namespaces.includes('user');
  return new Map(
    plan.stages.flatMap((_, epoch) =>
      epoch > 0 && narrowsRoot(plan, epoch) ? [[epoch, new RootEmptier({ pidfd, ownUsers })]] : [],
    ),
  );
}

/**
 * From outside, and before any filter: a program that waits for a later stage has nothing to gain by what it loses. `assertAlive` throws when it has ended.
 * @throws RatchetError VERIFICATION_FAILED, or of a step.
 */
export async function enterLayers(
  { plan, cgroup, emptiers }: SandboxLayers,
  options: {
    readonly pid: number;
    readonly pidfd: number;
    readonly epoch: number;
    readonly deadlineMs: number;
    readonly assertAlive: () => void;
  },
): Promise<void> {
  const { pid, pidfd, epoch, deadlineMs, assertAlive } = options;
  await tightenLayers({ pid, pidfd, plan, cgroup, emptiers, epoch, deadlineMs });
  assertAlive();
  const failed = verifyLayers(pid, plan, { epoch }).find(({ state }) => state === 'partial');
  if (failed !== undefined)
    throw new RatchetError('VERIFICATION_FAILED', `the layer ${failed.name} is not as it should be: ${failed.reason}`, {
      next: 'the VMM was killed; look at who else has changed it',
    });
}

/** One row a layer. @throws when the process is gone. */
export function attestLayers(
  { plan, atBirth, cgroup }: SandboxLayers,
  pid: number,
  now: { readonly epoch: number; readonly restricted: number | undefined },
): readonly Mechanism[] {
  return [...verifyLayers(pid, plan, now), ...(cgroup?.verify(pid) ?? []), ...atBirth];
}
