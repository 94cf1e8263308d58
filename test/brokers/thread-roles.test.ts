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
const filters = ownFilterCount() + 1;

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

test('a thread that nobody named has the roles that the number of its filters leaves it', async () => {
  await broker.client.tellThreads({ least: [['vcpu', filters + 1]], threads: [] });
  expect(await open()).toBe('ok');
  await broker.client.tellThreads({
    least: [
      ['io', filters],
      ['vcpu', filters + 1],
    ],
    threads: [],
  });
  expect(await open()).toBe('ok');
});

test('one that may have several is refused what any of them is refused', async () => {
  await broker.client.tellThreads({
    least: [
      ['io', filters],
      ['vcpu', filters],
    ],
    threads: [],
  });
  expect(await open()).toBe('EPERM');
  const event = await broker.event(({ type }) => type === 'refusal');
  expect(event).toMatchObject({ tid: victim.pid, role: 'vcpu', syscall: 'openat', args: { filename: '/dev/null' } });
});

test('one that was named has its role, filters or not', async () => {
  await broker.client.tellThreads({ least: [['vcpu', filters + 1]], threads: [[victim.pid, began(), 'vcpu']] });
  expect(await open()).toBe('EPERM');
  await broker.client.tellThreads({
    least: [
      ['vcpu', filters + 1],
      ['io', filters],
    ],
    threads: [[victim.pid, began(), 'io']],
  });
  expect(await open()).toBe('ok');
});

test('one that was named and has the filters of a role above is refused what that is refused', async () => {
  await broker.client.tellThreads({
    least: [
      ['io', filters],
      ['vcpu', filters],
    ],
    threads: [[victim.pid, began(), 'io']],
  });
  expect(await open()).toBe('EPERM');
});

test('a number that another thread had is no name', async () => {
  await broker.client.tellThreads({ least: [['vcpu', filters]], threads: [[victim.pid, began() - 1, 'io']] });
  expect(await open()).toBe('EPERM');
  await broker.client.tellThreads({ least: [['vcpu', filters + 1]], threads: [[victim.pid, began() - 1, 'vcpu']] });
  expect(await open()).toBe('ok');
});

test('more threads than go into one message are all known, and those of before are forgotten', async () => {
  const least: [string, number][] = [['vcpu', filters + 1]];
  const others = Array.from({ length: 300 }, (_, index): [number, number, string] => [4_000_000 + index, 1, 'io']);
  await broker.client.tellThreads({ least, threads: [...others, [victim.pid, began(), 'vcpu']] });
  expect(await open()).toBe('EPERM');
  await broker.client.tellThreads({ least, threads: others });
  expect(await open()).toBe('ok');
});
