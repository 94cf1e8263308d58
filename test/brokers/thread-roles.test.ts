// SPDX-License-Identifier: Apache-2.0
// Which role the broker takes a real thread for, by what it was told and by what the kernel says.
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ResolvedProfile } from '../../core/policy/types.ts';
import { startTimeOf } from '../../core/stages/start-time.ts';
import { ownFilterCount } from '../../core/stages/tasks.ts';
import { filterPolicy, profileOf } from './policy.ts';
import { type ServedBroker, startBroker, startVictim, type Victim } from './rig.ts';

const plain = profileOf({ start: { rules: [] } });
const profile: ResolvedProfile = {
  ...plain,
  stages: plain.stages.map((stage) => ({
    ...stage,
    roles: { io: filterPolicy({}), vcpu: filterPolicy({ openat: { kind: 'errno', errno: 1, quiet: false } }) },
  })),
};
const oneFilter = ownFilterCount() + 1;
const none = 0;

let broker: ServedBroker;
let victim: Victim;

const began = (): number => Number(startTimeOf(victim.pid, victim.pid));
const open = async (): Promise<string> => (await victim.ask('leader openat 0 0 /dev/null')).split(' ')[0] ?? '';

beforeAll(async () => {
  broker = await startBroker(profile);
  victim = await startVictim(broker.client);
});
afterAll(async () => {
  await victim.end();
  await broker[Symbol.asyncDispose]();
});

test('until it is told of roles no thread has one', async () => {
  expect(await open()).toBe('ok');
});

test('a thread that nobody named and that has more filters than others is refused what any role is refused', async () => {
  await broker.client.tellThreads(none, []);
  expect(await open()).toBe('EPERM');
  const event = await broker.event(({ type }) => type === 'refusal');
  expect(event).toMatchObject({ tid: victim.pid, role: 'vcpu', syscall: 'openat', args: { filename: '/dev/null' } });
});

test('one that has no more filters than others has no role', async () => {
  await broker.client.tellThreads(oneFilter, []);
  expect(await open()).toBe('ok');
});

test('one that was named has its role, whatever the number of its filters', async () => {
  await broker.client.tellThreads(oneFilter, [[victim.pid, began(), 'vcpu']]);
  expect(await open()).toBe('EPERM');
  await broker.client.tellThreads(none, [[victim.pid, began(), 'io']]);
  expect(await open()).toBe('ok');
  await broker.client.tellThreads(none, [[victim.pid, began(), null]]);
  expect(await open()).toBe('ok');
});

test('a number that another thread had is no name', async () => {
  await broker.client.tellThreads(none, [[victim.pid, began() - 1, 'io']]);
  expect(await open()).toBe('EPERM');
  await broker.client.tellThreads(oneFilter, [[victim.pid, began() - 1, 'vcpu']]);
  expect(await open()).toBe('ok');
});

test('more threads than go into one message are all known, and those of before are forgotten', async () => {
  const others = Array.from({ length: 300 }, (_, index): [number, number, string] => [4_000_000 + index, 1, 'io']);
  await broker.client.tellThreads(oneFilter, [...others, [victim.pid, began(), 'vcpu']]);
  expect(await open()).toBe('EPERM');
  await broker.client.tellThreads(oneFilter, others);
  expect(await open()).toBe('ok');
});
