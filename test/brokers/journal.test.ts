// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { Journal, type Snapshot } from '../../brokers/journal.ts';
import { journalBytes } from '../../core/broker/protocol.ts';
import { native } from '../../native/index.ts';
import { profileOf } from './policy.ts';
import { newJournal, startBroker } from './rig.ts';

const grant = { id: 3, request: 'open', target: '/x', throughEpoch: 0 };
const snapshot = (grants: Snapshot['grants']): Snapshot => ({ nextGrant: 4, grants, bound: [] });

test('what was written is read, and of two the later', () => {
  const memory = new ArrayBuffer(journalBytes);
  const journal = new Journal(memory);
  expect(journal.read()).toBeUndefined();
  journal.write(snapshot([]));
  journal.write(snapshot([grant]));
  expect(new Journal(memory).read()).toEqual(snapshot([grant]));
});

test('a writer that dies in the middle leaves what was there before', () => {
  const memory = new ArrayBuffer(journalBytes);
  const journal = new Journal(memory);
  journal.write(snapshot([grant]));
  const before = new Uint8Array(memory).slice();
  journal.write(snapshot([]));
  const after = new Uint8Array(memory).slice();
  // Bytes are written front to back but for the word that names the slot: up to any byte of the new slot the old one counts.
  const changed = Array.from(after.keys()).filter((index) => index >= 1024 && after[index] !== before[index]);
  for (const upTo of changed) {
    const torn = before.slice();
    torn.set(after.subarray(1024, upTo), 1024);
    expect(new Journal(torn.buffer).read()).toEqual(snapshot([grant]));
  }
});

test('what does not fit is not written, and what was there stays', () => {
  const memory = new ArrayBuffer(journalBytes);
  const journal = new Journal(memory);
  expect(journal.write(snapshot([grant]))).toBe(true);
  const large = Array.from({ length: 200 }, (_, id) => ({ ...grant, id, target: `/${'x'.repeat(1000)}` }));
  expect(journal.write(snapshot(large))).toBe(false);
  expect(journal.read()).toEqual(snapshot([grant]));
  expect(() => new Journal(new ArrayBuffer(100))).toThrow(/100 bytes/);
});

const profile = profileOf({ start: { rules: [] }, running: { rules: ['open /etc/hostname:ro'] } });

test('a broker that finds bytes that are no journal begins without grants, says so, and serves', async () => {
  using shared = newJournal();
  const memory = native.mapShared({ fd: shared.fd, bytes: journalBytes });
  new Journal(memory).write(snapshot([{ ...grant, target: '/etc/shadow' }]));
  new Uint8Array(memory).fill(0x7b, 1024 + 4, 1024 + 40);
  await using broker = await startBroker(profile, [], [], shared);
  expect(await broker.event(({ type }) => type === 'broker')).toMatchObject({
    what: expect.stringContaining('could not be read'),
  });
  await expect(broker.client.open('/etc/shadow')).rejects.toMatchObject({ code: 'REQUEST_REFUSED' });
});

test('a broker that finds grants which the profile lets nobody grant does not take them on, and never goes back a stage', async () => {
  using shared = newJournal();
  const journal = new Journal(native.mapShared({ fd: shared.fd, bytes: journalBytes }));
  journal.write(snapshot([{ ...grant, target: '/etc/shadow', throughEpoch: 1 }]));
  journal.epoch = 1;
  await using broker = await startBroker(profile, [], [], shared);
  const status = await broker.client.status();
  expect(status).toMatchObject({ stage: 'running', grants: [{ target: '/etc/hostname:ro' }] });
  await expect(broker.client.enterStage(0)).rejects.toMatchObject({ code: 'REQUEST_REFUSED' });
  await expect(broker.client.open('/etc/shadow')).rejects.toMatchObject({ code: 'REQUEST_REFUSED' });
});
