// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { load as parse } from 'js-yaml';
import type { LaunchOptions } from '../../core/launch/options.ts';
import type { Sandbox } from '../../core/launch/sandbox.ts';
import type { Grant } from '../../core/policy/index.ts';
import { packagePath } from '../../native/package-path.ts';
import { launchBare } from './bare.ts';

export type Programs = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** The shipped profile of QEMU with programs. */
export function profileWith(programs: Programs): Readonly<Record<string, unknown>> {
  const qemu = parse(readFileSync(packagePath('profiles/qemu.yaml'), 'utf8')) as Readonly<Record<string, unknown>>;
  const named = Object.entries(programs).map(([name, program]) => [name, { why: 'a test', ...program }]);
  return { ...qemu, programs: Object.fromEntries(named) };
}

/** The smallest machine, whose profile has these programs and grants all of them, unless `granted` says which. */
export async function launchWith(
  programs: Programs,
  options: Omit<LaunchOptions, 'command' | 'profile'> & {
    readonly granted?: readonly string[];
    readonly args?: readonly string[];
  } = {},
): Promise<Sandbox> {
  const { granted = Object.keys(programs), args = [], allow = [], ...others } = options;
  const grants = granted.map((target): Grant => ({ request: 'exec', target }));
  return await launchBare(args, { ...others, profile: profileWith(programs), allow: [...allow, ...grants] });
}
