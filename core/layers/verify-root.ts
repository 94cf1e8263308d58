// SPDX-License-Identifier: Apache-2.0
// The root of a process as its mount table has it.
import { readdirSync, readFileSync } from 'node:fs';
import type { Mechanism } from '../launch/report.ts';
import { mountsOf, type RootPlan } from './root-plan.ts';

interface Mount {
  readonly point: string;
  readonly options: readonly string[];
  readonly kind: string;
}

/** What is mounted within another's mount came with it. @throws when the process is gone. */
export function verifyRoot(pid: number, plan: RootPlan, { empty }: { readonly empty: boolean }): Mechanism {
  const expected = empty ? new Map([['/', { readOnly: true }]]) : mountsOf(plan);
  const mounts = readMounts(pid);
  const wrong =
    [...expected]
      .map(([point, { readOnly }]) => complaint(point, readOnly, mounts))
      .find((each) => each !== undefined) ??
    mounts
      .map(({ point }) => point)
      .filter((point) => !within(point, expected))
      .map((point) => `${point} is mounted too`)[0] ??
    (empty ? leftovers(pid) : undefined);
  if (wrong !== undefined) return { name: 'root', state: 'partial', reason: wrong };
  const reason = empty
    ? 'empty: nothing is mounted in it, and there is no file'
    : `minimal: ${[...expected.keys()].slice(1).join(', ')}`;
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

function within(point: string, expected: ReadonlyMap<string, unknown>): boolean {
  return [...expected.keys()].some((each) => point === each || (each !== '/' && point.startsWith(`${each}/`)));
}

function leftovers(pid: number): string | undefined {
  const names = readdirSync(`/proc/${pid}/root/`);
  return names.length === 0 ? undefined : `${names.join(', ')} is left in it`;
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
