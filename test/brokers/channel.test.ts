// SPDX-License-Identifier: Apache-2.0
import { fstatSync } from 'node:fs';
import { expect, test } from 'vitest';
import { Channel } from '../../brokers/channel.ts';
import { Flows } from '../../brokers/flows.ts';
import { Reporter } from '../../brokers/reporter.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import { native } from '../../native/index.ts';

test('an answer that cannot be written ends its channel, and its descriptors are closed', () => {
  const [ours, theirs] = native.socketPair({ type: 'seqpacket' });
  using peer = new OwnedFd(theirs);
  using own = new OwnedFd(ours);
  const flows = new Flows(new BigUint64Array(new ArrayBuffer(8)), new Reporter(() => undefined), 0);
  const ends: unknown[] = [];
  const channel = new Channel(own.fd, flows, { onPacket: () => undefined, onEnd: (error) => ends.push(error) });
  const granted = new OwnedFd(native.memfd({ name: 'granted', data: new Uint8Array(1), seal: false }));
  const { fd } = granted;
  channel.send({ type: 'result', id: 2n ** 64n, class: 'ok', value: {} }, [granted]);
  expect(ends).toEqual([expect.any(RangeError)]);
  expect(() => fstatSync(fd)).toThrow(/EBADF/);
  channel.send({ type: 'result', id: 1n, class: 'ok', value: {} });
  expect(native.receiveMessage({ fd: peer.fd, maxBytes: 64, maxFds: 1 }).kind).toBe('again');
});
