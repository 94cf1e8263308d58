// SPDX-License-Identifier: Apache-2.0
// What a host runs out of, and what it does to clocks and processes: an errno in time, and everything goes on afterwards.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { addressToSockaddr, parseAddress } from '../../core/policy/address/index.ts';
import type { ResolvedProfile } from '../../core/policy/types.ts';
import { packagePath } from '../../native/package-path.ts';
import { waitFor } from '../launch/processes.ts';
import { freeze } from './freezer.ts';
import { fullListener } from './full-listener.ts';
import { profileOf } from './policy.ts';
import { fdCount, hex, scratch, startBroker, startVictim } from './rig.ts';

const brokered = { kind: 'broker' } as const;
const failed = { code: 'REQUEST_FAILED', errno: 'ENOSPC' };

test('a file system without room is ENOSPC at both doors, for files and sockets, and serves again when there is some', async () => {
  using folder = scratch();
  const { path } = folder;
  const rules = [`open ${path}/*`, `bind unix:${path}/*`];
  const actions = { openat: brokered, bind: brokered };
  // Two files and the folder itself.
  const small = `mount -t tmpfs -o nr_inodes=3 none ${path} && exec "$@"`;
  const within = ['unshare', '--mount', 'sh', '-c', small, 'sh'];
  await using broker = await startBroker(profileOf({ start: { rules }, running: { rules, actions } }), [], within);
  const { client } = broker;
  const victim = await startVictim(client);
  await client.enterStage(1);
  (await client.open(`${path}/one`, 'rw', { create: true })).close();
  const creating = 'openat 0101 0600';
  expect(await victim.ask(`${creating} ${path}/two`)).toMatch(/^ok/);
  await client.status();
  const before = fdCount(broker.pid);
  await expect(client.open(`${path}/three`, 'rw', { create: true })).rejects.toMatchObject(failed);
  await expect(client.bind(`unix:${path}/three`)).rejects.toMatchObject(failed);
  expect(await victim.ask(`${creating} ${path}/three`)).toBe('ENOSPC');
  const address = hex(addressToSockaddr(parseAddress(`unix:${path}/three`)));
  expect(await victim.ask(`bind 1 1 0 ${address}`)).toBe('ENOSPC');
  execFileSync('nsenter', ['--mount', '-t', String(broker.pid), 'rm', `${path}/one`]);
  (await client.open(`${path}/three`, 'rw', { create: true })).close();
  await client.status();
  expect(fdCount(broker.pid)).toBe(before);
  await victim.end();
});

test('a clock that is set all the time neither lengthens nor shortens a grant, a deadline or a wait', async () => {
  using folder = scratch();
  const path = `${folder.path}/full`;
  using _full = fullListener(path);
  const profile = profileOf({ start: { rules: [`connect unix:${path}`] } });
  const mayGrant = { ...profile.stages[0]?.broker[0], request: 'open' as const, target: '/dev/null', mayGrant: true };
  const stages = profile.stages.map((stage) => ({ ...stage, broker: [...stage.broker, mayGrant] }));
  const within = ['env', `NODE_OPTIONS=--import=${packagePath('test/brokers/jumping-clock.mjs')}`];
  await using broker = await startBroker({ ...profile, stages } as ResolvedProfile, [], within);
  const { client } = broker;
  const forMs = 700;
  const begunMs = performance.now();
  await client.grant({ request: 'open', target: '/dev/null', throughEpoch: 0, forMs });
  // It does jump: what it shows are the times of events.
  const added = await broker.event(({ type }) => type === 'grant');
  expect(Math.abs(Date.parse(added.time) - Date.now())).toBeGreaterThan(300 * 24 * 3600 * 1000);
  (await client.open('/dev/null')).close();
  const askedMs = performance.now();
  await expect(client.connect(`unix:${path}`, { timeoutMs: 300 })).rejects.toMatchObject({ errno: 'ETIMEDOUT' });
  expect(performance.now() - askedMs).toBeGreaterThan(290);
  await broker.event((event) => event.type === 'grant' && event.outcome === 'expired');
  expect(performance.now() - begunMs).toBeGreaterThan(forMs - 10);
  await expect(client.open('/dev/null')).rejects.toMatchObject({ code: 'REQUEST_REFUSED' });
});

test('a VMM in a frozen group is answered when it goes on, by the stage that holds then, and others are served meanwhile', async () => {
  using folder = scratch();
  const path = `${folder.path}/full`;
  using full = fullListener(path);
  const actions = { connect: brokered };
  const rules = [`connect unix:${path}`];
  await using broker = await startBroker(profileOf({ start: { rules, actions }, running: { rules: [], actions } }));
  const victim = await startVictim(broker.client);
  victim.tell(`connect 1 1 0 ${full.address}`);
  await waitFor('its call to wait', async () => (await broker.client.status()).pending === 1);
  const frozen = freeze(victim.pid);
  try {
    await expect(broker.client.connect('tcp:127.0.0.1:1')).rejects.toMatchObject({ code: 'REQUEST_REFUSED' });
    await broker.client.enterStage(1);
    expect((await broker.client.status()).pending).toBe(0);
  } finally {
    await frozen.thaw();
  }
  expect(await victim.line()).toBe('EACCES');
  await victim.end();
});

test('a launcher without free descriptors hears of it at once, and keeps nothing of what came', async () => {
  const broker = await startBroker(profileOf({ start: { rules: ['open /dev/null'] } }));
  (await broker.client.open('/dev/null')).close();
  const ownFds = () => readdirSync('/proc/self/fd').length;
  const before = ownFds();
  const pid = String(process.pid);
  const soft = execFileSync('prlimit', ['--pid', pid, '--nofile', '-o', 'SOFT', '--noheadings'], { encoding: 'utf8' });
  // It has to be there before: at the limit nothing can be started.
  const restorer = spawn('sh', ['-c', `read _ && prlimit --pid ${pid} --nofile=${soft.trim()}:`]);
  const restored = once(restorer, 'exit');
  execFileSync('prlimit', ['--pid', pid, '--nofile=3:']);
  try {
    await expect(broker.client.open('/dev/null')).rejects.toMatchObject({ code: 'BROKER_DIED' });
  } finally {
    restorer.stdin.end('\n');
    await restored;
  }
  expect((await broker.exited).code).toBe(0);
  // The channel is closed, and nothing came in its place.
  expect(ownFds()).toBeLessThan(before);
});

test('ten thousand calls of a thousand threads at once are all answered', async () => {
  const rules = ['open /dev/null'];
  const actions = { openat: brokered };
  await using broker = await startBroker(profileOf({ start: { rules }, running: { rules, actions } }));
  const victim = await startVictim(broker.client);
  await broker.client.enterStage(1);
  const before = fdCount(broker.pid);
  expect(await victim.ask('burst 1000 10 /dev/null')).toBe('10000');
  expect((await broker.client.status()).allowed).toBeGreaterThanOrEqual(10_000);
  expect(fdCount(broker.pid)).toBe(before);
  await victim.end();
});
