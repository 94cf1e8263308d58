// SPDX-License-Identifier: Apache-2.0
// Whether a control group with these limits can be had beneath a parent, found out by doing what is needed of the parent.
import { accessSync, constants, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CgroupLimits, type Controller, controllers } from '../policy/cgroup-limits.ts';
import { type CgroupFile, cgroupFiles } from './cgroup-files.ts';
import { cgroupMount, cgroupOf, wordsOf } from './cgroup-tree.ts';

export interface CgroupPlan {
  /** As processes see it. */
  readonly parent: string;
  /** The same in the file system. */
  readonly folder: string;
  readonly files: readonly CgroupFile[];
}

export type CgroupLayer = 'cgroup' | `cgroup-${Controller}`;

/** Tells whether a layer is there, and what it lacks; false: go on without. */
export type Require = (name: CgroupLayer, there: boolean, lack: string, cure: string) => boolean;

const delegate =
  'start the launcher in a group of its own (systemd: Delegate=yes and DelegateSubgroup=launcher), and give the parent';

export function planCgroup(
  limits: CgroupLimits,
  { parent: wanted, require }: { readonly parent: string | undefined; readonly require: Require },
): CgroupPlan | undefined {
  const files = cgroupFiles(limits);
  const mount = cgroupMount();
  if (!require('cgroup', mount !== undefined, 'no cgroup v2 hierarchy is mounted here', 'mount cgroup2'))
    return undefined;
  const parent = wanted ?? cgroupOf('self') ?? '/';
  const folder = join(mount ?? '', parent);
  const refused = errnoOf(() => accessSync(folder, constants.W_OK | constants.X_OK));
  if (!require('cgroup', refused === undefined, `no group can be made in ${parent} (${refused})`, delegate))
    return undefined;
  const used = controllers.filter((each) => files.some(({ controller }) => controller === each));
  const lacking = used.filter((each) => !require(`cgroup-${each}`, ...available(folder, parent, each)));
  return { parent, folder, files: files.filter(({ controller }) => !lacking.includes(controller)) };
}

/** Groups beneath have a controller when their parent hands it on, which it may only do without processes of its own. */
function available(
  folder: string,
  parent: string,
  controller: Controller,
): [there: boolean, lack: string, cure: string] {
  if (!wordsOf(folder, 'cgroup.controllers').includes(controller))
    return [
      false,
      `${parent} has no controller ${controller} in cgroup v2`,
      'have it handed down (systemd: Delegate=yes), and in no v1 hierarchy (boot with systemd.unified_cgroup_hierarchy=1)',
    ];
  if (wordsOf(folder, 'cgroup.subtree_control').includes(controller)) return [true, '', ''];
  const refused = errnoOf(() => writeFileSync(join(folder, 'cgroup.subtree_control'), `+${controller}`));
  return [refused === undefined, `${parent} cannot hand the controller ${controller} on (${refused})`, delegate];
}

function errnoOf(act: () => void): string | undefined {
  try {
    act();
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'EIO';
  }
}
