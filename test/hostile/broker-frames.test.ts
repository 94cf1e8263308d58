// SPDX-License-Identifier: Apache-2.0
// The short form of test/bench/broker/frames.ts: nothing that can be sent is more than a broken rule of the protocol, or costs the broker anything for good.
import { expect, test } from 'vitest';
import { decodeMany, held, requestMany, sendMany } from '../bench/broker/frames.ts';
import { profileOf } from '../brokers/policy.ts';
import { scratch, startBroker } from '../brokers/rig.ts';

test('random and mutated frames are requests or broken rules, and nothing else', () => {
  const { requests, refused } = decodeMany(20_000);
  // Both kinds were among them.
  expect(requests).toBeGreaterThan(100);
  expect(refused).toBeGreaterThan(10_000);
});

test('frames end channels and requests come back, and the broker holds what it held', async () => {
  using folder = scratch();
  await using broker = await startBroker(profileOf({ start: { rules: [`open ${folder.path}/*`, 'memory 1M'] } }));
  await broker.client.status();
  const before = held(broker.pid);
  const ended = await sendMany(broker, 500);
  expect(ended).toBeGreaterThan(250);
  await requestMany(broker, folder.path, 1000);
  await expect.poll(() => held(broker.pid).fds).toBe(before.fds);
  expect(held(broker.pid).rssAnonMb).toBeLessThan(64);
});
