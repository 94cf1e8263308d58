// SPDX-License-Identifier: Apache-2.0
// Descriptor limits reached on either side: an errno for that one call, and everything works again afterwards.
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import { addressToSockaddr, parseAddress } from '../../core/policy/address/index.ts';
import { profileOf } from './policy.ts';
import { fdCount, hex, startBroker, startVictim } from './rig.ts';

const brokered = { kind: 'broker' } as const;
const rules = ['open /dev/null', 'bind tcp:127.0.0.1:0'];
const profile = profileOf({
  start: { rules, actions: { bind: brokered } },
  running: { rules, actions: { bind: brokered, openat: brokered } },
});
const bind = `bind 2 1 0 ${hex(addressToSockaddr(parseAddress('tcp:127.0.0.1:0')))}`;
const cleanUp: (() => unknown)[] = [];

afterEach(async () => {
  for (const step of cleanUp.splice(0).reverse()) await step();
});

/** No fd above the highest that is open now, or the old limit again. */
function limitFds(pid: number, soft: number): void {
  execFileSync('prlimit', ['--pid', String(pid), `--nofile=${soft}:`]);
}

const highestFd = (pid: number) => Math.max(...readdirSync(`/proc/${pid}/fd`).map(Number));

async function rig() {
  const broker = await startBroker(profile);
  cleanUp.push(() => broker[Symbol.asyncDispose]());
  const victim = await startVictim(broker.client);
  cleanUp.push(() => victim.end());
  await broker.client.enterStage(1);
  return { broker, victim };
}

test('a broker without free descriptors answers EMFILE at both doors, and recovers', async () => {
  const { broker, victim } = await rig();
  expect(await victim.ask(bind)).toBe('ok');
  await broker.client.status();
  const before = fdCount(broker.pid);
  // Numbers below the limit may be free where others were closed; 3 is the lowest that could be.
  limitFds(broker.pid, 3);
  await expect(broker.client.open('/dev/null')).rejects.toThrow(
    expect.objectContaining({ code: 'REQUEST_FAILED', errno: 'EMFILE' }),
  );
  await expect(broker.client.bind('tcp:127.0.0.1:0')).rejects.toThrow(
    expect.objectContaining({ code: 'REQUEST_FAILED', errno: 'EMFILE' }),
  );
  expect(await victim.ask(bind)).toBe('EMFILE');
  expect(await victim.ask('openat 0 0 /dev/null')).toBe('EMFILE');
  limitFds(broker.pid, 1024);
  (await broker.client.open('/dev/null')).close();
  expect(await victim.ask(bind)).toBe('ok');
  expect(await victim.ask('openat 0 0 /dev/null')).toBe('ok cloexec=0 flags=00');
  await broker.client.status();
  expect(fdCount(broker.pid)).toBe(before);
});

test('a VMM without free descriptors gets EMFILE for a granted open, and the broker keeps nothing', async () => {
  const { broker, victim } = await rig();
  await broker.client.status();
  const before = fdCount(broker.pid);
  limitFds(victim.pid, Math.min(3, highestFd(victim.pid)));
  expect(await victim.ask('openat 0 0 /dev/null')).toBe('EMFILE');
  limitFds(victim.pid, 1024);
  expect(await victim.ask('openat 0 0 /dev/null')).toBe('ok cloexec=0 flags=00');
  await broker.client.status();
  expect(fdCount(broker.pid)).toBe(before);
});
