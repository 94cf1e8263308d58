// SPDX-License-Identifier: Apache-2.0
import { native } from '../../native/index.ts';
import type { Cgroup } from './cgroup.ts';
import { cgroupFiles } from './cgroup-files.ts';
import type { RootEmptier } from './empty-root.ts';
import type { LayerPlan } from './plan.ts';
import { rlimitNumber, verifyRlimits } from './verify-limits.ts';

/** Takes from a running program, from outside, what its next stage leaves it no more. What earlier stages took stays taken. @throws RatchetError; some of it may be done then. */
export async function tightenLayers(options: {
  readonly pid: number;
  readonly pidfd: number;
  readonly plan: LayerPlan;
  readonly cgroup: Cgroup | undefined;
  /** Ready for the stages that narrow the root, by epoch. */
  readonly emptiers: ReadonlyMap<number, RootEmptier>;
  readonly epoch: number;
  readonly deadlineMs: number;
}): Promise<void> {
  const { pid, pidfd, plan, cgroup, emptiers, epoch, deadlineMs } = options;
  const before = plan.stages[epoch - 1];
  const now = plan.stages[epoch];
  if (now === undefined || now === before) return;
  for (const [name, value] of Object.entries(now.rlimits)) {
    const resource = rlimitNumber(name);
    if (
      resource !== undefined &&
      before?.rlimits[name] !== value &&
      verifyRlimits(pid, { [name]: value }).state !== 'enforced'
    )
      native.limitChild({ pid, pidfd, resource, value });
  }
  cgroup?.limit(cgroup.has(cgroupFiles(now.cgroup)));
  if (narrowsRoot(plan, epoch))
    await emptiers.get(epoch)?.empty(pid, now.root === 'granted' ? (plan.root?.staying ?? []) : [], deadlineMs);
}

/** Whether the stage leaves less in the program's root than the one before. */
export function narrowsRoot({ root, stages }: LayerPlan, epoch: number): boolean {
  const now = stages[epoch]?.root;
  return root !== undefined && now !== undefined && now !== 'whole' && now !== stages[epoch - 1]?.root;
}
