// SPDX-License-Identifier: Apache-2.0
// Whoever dies, stops or is slow: everybody else gets an answer in time.
import { readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { BrokerClient } from '../../core/broker/client.ts';
import { packagePath } from '../../native/package-path.ts';
import { waitFor } from '../launch/processes.ts';
import { fullListener } from './full-listener.ts';
import { profileOf } from './policy.ts';
import { fdCount, scratch, startBroker, startVictim } from './rig.ts';

test('a broker that is killed fails every request that is under way, at once', async () => {
  using folder = scratch();
  const path = `${folder.path}/full`;
  using _full = fullListener(path);
  await using broker = await startBroker(profileOf({ start: { rules: [`connect unix:${path}`] } }));
  const waiting = Array.from({ length: 20 }, () => broker.client.connect(`unix:${path}`, { timeoutMs: 60_000 }));
  const outcomes = Promise.allSettled(waiting);
  await waitFor('all of them to wait', async () => (await broker.client.status()).pending === 20);
  process.kill(broker.pid, 'SIGKILL');
  for (const outcome of await outcomes)
    expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'BROKER_DIED' } });
  await expect(broker.client.status()).rejects.toMatchObject({ code: 'BROKER_DIED' });
});

test('an agent that is gone with requests under way costs nothing for longer than they may take', async () => {
  using folder = scratch();
  const path = `${folder.path}/full`;
  using _full = fullListener(path);
  await using broker = await startBroker(profileOf({ start: { rules: [`connect unix:${path}`] } }));
  await broker.client.status();
  const before = fdCount(broker.pid);
  using channel = await broker.client.addAgent('leaves');
  const agent = new BrokerClient(channel.release());
  await agent.ready();
  const waiting = agent.connect(`unix:${path}`, { timeoutMs: 300 }).catch((error: unknown) => error);
  await waitFor('it to wait', async () => (await broker.client.status()).pending === 1);
  agent.close();
  expect(await waiting).toMatchObject({ code: 'BROKER_DIED' });
  await waitFor('nothing to wait', async () => (await broker.client.status()).pending === 0);
  expect(fdCount(broker.pid)).toBe(before);
});

test('a VMM that is stopped while its call waits is answered when it goes on, and others are served meanwhile', async () => {
  using folder = scratch();
  const path = `${folder.path}/full`;
  using full = fullListener(path);
  const notified = { connect: { kind: 'broker' } } as const;
  const rules = [`connect unix:${path}`];
  await using broker = await startBroker(
    profileOf({ start: { rules, actions: notified }, running: { rules: [], actions: notified } }),
  );
  const victim = await startVictim(broker.client);
  victim.tell(`connect 1 1 0 ${full.address}`);
  await waitFor('its call to wait', async () => (await broker.client.status()).pending === 1);
  process.kill(victim.pid, 'SIGSTOP');
  await expect(broker.client.connect('tcp:127.0.0.1:1')).rejects.toMatchObject({ code: 'REQUEST_REFUSED' });
  await broker.client.enterStage(1);
  expect((await broker.client.status()).pending).toBe(0);
  process.kill(victim.pid, 'SIGCONT');
  expect(await victim.line()).toBe('EACCES');
  await victim.end();
});

test('a connect through a link is taken back when where it leads is granted no more', async () => {
  using folder = scratch();
  const [path, link] = [`${folder.path}/full`, `${folder.path}/link`];
  using _full = fullListener(path);
  symlinkSync(path, link);
  const both = [`connect unix:${path}`, `connect unix:${link}`];
  await using broker = await startBroker(
    profileOf({ start: { rules: both }, running: { rules: [`connect unix:${link}`] } }),
  );
  const waiting = expect(broker.client.connect(`unix:${link}`)).rejects.toMatchObject({ code: 'REQUEST_REFUSED' });
  await waitFor('it to wait', async () => (await broker.client.status()).pending === 1);
  await broker.client.enterStage(1);
  await waiting;
});

test('no decision looks at a clock that can be set: the time of day is for reports', () => {
  const folder = packagePath('brokers');
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
  const using = files.filter((name) => /\bDate\b/.test(readFileSync(join(folder, name), 'utf8')));
  expect(using).toEqual(['reporter.ts']);
});
