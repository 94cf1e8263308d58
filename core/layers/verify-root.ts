// SPDX-License-Identifier: Apache-2.0
// The root of a process as its mount table has it.
import { readdirSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import type { Mechanism } from '../launch/report.ts';
import type { StageRoot } from '../policy/index.ts';
import { mountsOf, type RootPlan, within } from './root-plan.ts';

interface Mount {
  readonly point: string;
  readonly options: readonly string[];
  readonly kind: string;
}

/** What is mounted within another's mount came with it. @throws when the process is gone. */
export function verifyRoot(pid: number, plan: RootPlan, root: StageRoot): Mechanism {
  const expected = mountsOf(plan, root);
  const points = [...expected.keys()].slice(1);
  const mounts = readMounts(pid);
  const wrong =
    [...expected]
      .map(([point, { readOnly }]) => complaint(point, readOnly, mounts))
      .find((each) => each !== undefined) ??
    mounts
      .map(({ point }) => point)
      .filter((point) => point !== '/' && !points.some((each) => within(point, each)))
      .map((point) => `${point} is mounted too`)[0] ??
    (root === 'whole' ? undefined : leftover(pid, '/', points));
  if (wrong !== undefined) return { name: 'root', state: 'partial', reason: wrong };
  const reason =
    points.length === 0
      ? 'empty: nothing is mounted in it, and there is no file'
      : `${root === 'whole' ? 'minimal' : 'granted'}: ${points.join(', ')}`;
  return { name: 'root', state: 'enforced', reason };
}

function complaint(point: string, readOnly: boolean, mounts: readonly Mount[]): string | undefined {
  const found = mounts.findLast((mount) => mount.point === point);
  if (found === undefined) return `${point} is not mounted`;
  if (point === '/' && found.kind !== 'tmpfs') return `its root is ${found.kind}, not one of its own`;
  const wanted = ['nosuid', ...(readOnly ? ['ro'] : [])];
  const lacking = wanted.find((option) => !found.options.includes(option));
  return lacking === undefined ? undefined : `${point} is not ${lacking}`;
}

/** What there is but the mounts and the folders on the way to them. */
function leftover(pid: number, folder: string, points: readonly string[]): string | undefined {
  for (const name of readdirSync(`/proc/${pid}/root${folder}`)) {
    const path = posix.join(folder, name);
    if (points.includes(path)) continue;
    const found = points.some((point) => within(point, path)) ? leftover(pid, path, points) : `${path} is left in it`;
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Fields of proc_pid_mountinfo(5), as that process sees them. */
export function readMounts(pid: number): readonly Mount[] {
  return readFileSync(`/proc/${pid}/mountinfo`, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => {
      const [before = '', after = ''] = line.split(' - ');
      const [, , , , point = '', options = ''] = before.split(' ');
      return { point: withoutEscapes(point), options: options.split(','), kind: after.split(' ')[0] ?? '' };
    });
}

/** Blanks and the like are octal there. */
export function withoutEscapes(path: string): string {
  return path.replace(/\\(\d{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
