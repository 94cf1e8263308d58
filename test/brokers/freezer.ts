// SPDX-License-Identifier: Apache-2.0
// The freezer of control groups, in either version: what a host does to a VM that it suspends.
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { waitFor } from '../launch/processes.ts';

const older = '/sys/fs/cgroup/freezer';
const newer = ['/sys/fs/cgroup', '/sys/fs/cgroup/unified'].find((path) => existsSync(`${path}/cgroup.controllers`));

/** Asks for the process to be frozen. `thaw` lets it go on and leaves nothing behind. */
export function freeze(pid: number): { readonly thaw: () => Promise<void> } {
  const isOlder = existsSync(`${older}/cgroup.procs`);
  const root = isOlder ? older : newer;
  if (root === undefined) throw new Error('this host has no control groups');
  const group = `${root}/ratchet-test-${process.pid}`;
  const [file, frozen, thawed] = isOlder ? ['freezer.state', 'FROZEN', 'THAWED'] : ['cgroup.freeze', '1', '0'];
  mkdirSync(group);
  writeFileSync(`${group}/cgroup.procs`, String(pid));
  writeFileSync(`${group}/${file}`, frozen);
  return {
    thaw: async () => {
      writeFileSync(`${group}/${file}`, thawed);
      writeFileSync(`${root}/cgroup.procs`, String(pid));
      await waitFor('the group to be empty', () => readFileSync(`${group}/cgroup.procs`, 'utf8') === '');
      rmdirSync(group);
    },
  };
}
