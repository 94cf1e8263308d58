// SPDX-License-Identifier: Apache-2.0
// A door for agents that is none: the launch fails, and its broker goes with it.
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { OwnedFd } from '../../core/owned-fd.ts';
import { native } from '../../native/index.ts';
import { launchBare } from './bare.ts';
import { waitFor } from './processes.ts';

const children = (): string => readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8');

test('no broker stays behind when its agents cannot be accepted', async () => {
  const before = children();
  const [one, other] = native.socketPair({ type: 'seqpacket' }).map((fd) => new OwnedFd(fd)) as [OwnedFd, OwnedFd];
  await expect(launchBare([], { agents: { listening: one } })).rejects.toMatchObject({ errno: 'EINVAL' });
  await waitFor('the broker to end', () => children() === before);
  other.close();
});
