// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { packagePath } from '../../native/package-path.ts';
import { RatchetError } from '../errors.ts';
import { within } from './root-plan.ts';
import { readMounts } from './verify-root.ts';

/** CLONE_NEWNS, and with CLONE_NEWUSER that of a launcher without root. */
const mountNamespace = 0x0002_0000;
const userNamespace = 0x1000_0000;

/** Takes everything but what is `kept` out of a process's minimal root, from outside (native/stager/empty_root.h). @throws RatchetError VERIFICATION_FAILED. */
export async function emptyRoot(options: {
  readonly pid: number;
  readonly pidfd: number;
  readonly kept: readonly string[];
  readonly ownUsers: boolean;
  readonly deadlineMs: number;
}): Promise<void> {
  const { pid, pidfd, kept, ownUsers, deadlineMs } = options;
  const mounts = readMounts(pid)
    .map(({ point }) => point)
    .filter((point) => point !== '/' && !kept.some((each) => within(point, each)));
  const bits = mountNamespace | (ownUsers ? userNamespace : 0);
  const inherited = 3;
  const words = ['--empty-root', String(inherited), String(bits), ...mounts];
  const child = spawn(packagePath('build/Release/ratchet-stager'), words, {
    stdio: ['ignore', 'ignore', 'pipe', pidfd],
    env: {},
    timeout: deadlineMs,
  });
  const said: Buffer[] = [];
  child.stderr?.on('data', (chunk: Buffer) => said.push(chunk));
  const status = await new Promise<number | string | null>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', resolve);
  });
  if (status === 0) return;
  const told = Buffer.concat(said).toString('utf8').trim() || `status ${status}`;
  throw new RatchetError('VERIFICATION_FAILED', `the root of ${pid} could not be emptied: ${told}`, {
    next: 'the VMM was killed; this is a bug, or somebody else has mounted something there',
  });
}
