// SPDX-License-Identifier: Apache-2.0
// A group that is launched by a user who is not root, in another process.
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packagePath } from '../../native/package-path.ts';

export interface RootlessMember {
  readonly ok: boolean;
  readonly pid: number;
  readonly mechanisms: readonly { readonly name: string; readonly state: string; readonly reason: string }[];
}

export interface RootlessRun {
  /** Belongs to the user already. */
  readonly folder: string;
  readonly user: number;
  readonly members: Readonly<Record<string, unknown>>;
  /** Shell words of root's, before it becomes the user. */
  readonly before?: string;
}

/** What `attest` says of each member when all are in their second stage. */
export function attestRootless({
  folder,
  user,
  members,
  before = ':',
}: RootlessRun): Readonly<Record<string, RootlessMember>> {
  writeFileSync(join(folder, 'group.json'), JSON.stringify({ version: 1, name: 'rootless', members }));
  const script = `
    import { launchGroup } from '${folder}/checkout/dist/core/index.js';
    const group = await launchGroup({ group: '${folder}/group.json' });
    console.log(JSON.stringify(await group.attest()));
    await group.stop();`;
  writeFileSync(join(folder, 'run.mjs'), script);
  // The checkout may lie where this user cannot go: it is shown in a place where it can.
  mkdirSync(join(folder, 'checkout'), { recursive: true });
  const asUser = `mount --bind . ${folder}/checkout && ${before} && exec setpriv --reuid=${user} --regid=${user} --clear-groups "$@"`;
  const text = execFileSync('unshare', ['-m', 'sh', '-c', asUser, 'sh', process.execPath, join(folder, 'run.mjs')], {
    encoding: 'utf8',
    cwd: packagePath('.'),
  });
  return (JSON.parse(text) as { readonly members: Readonly<Record<string, RootlessMember>> }).members;
}
