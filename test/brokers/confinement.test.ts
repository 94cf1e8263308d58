// SPDX-License-Identifier: Apache-2.0
// What a broker that was taken over can still do, on the real kernel.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { brokerNodeFlags, encodeConfinement } from '../../core/broker/protocol.ts';
import { attestBroker, requireConfined } from '../../core/launch/attest-broker.ts';
import { confinementFor } from '../../core/launch/broker-confinement.ts';
import { endBroker, startBroker as launchBroker } from '../../core/launch/broker-process.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import { loadProfile } from '../../core/profile-files.ts';
import { native } from '../../native/index.ts';
import { profileOf } from './policy.ts';
import { newJournal, scratch, startBroker } from './rig.ts';

const deadlineMs = 10_000;
const needs = { ownedPaths: [], privilegedVmm: false, withoutLandlock: false };

async function takenOver(rules: readonly string[], args: readonly string[]): Promise<string> {
  const own = confinementFor({ profile: profileOf({ start: { rules } }), ...needs });
  using memory = new OwnedFd(native.memfd({ name: 'own', data: encodeConfinement(own), seal: true }));
  const child = spawn(process.execPath, [...brokerNodeFlags, 'test/brokers/taken-over.mjs', ...args], {
    stdio: ['ignore', 'pipe', 'pipe', memory.fd],
  });
  let said = '';
  child.stdout?.on('data', (chunk) => {
    said += String(chunk);
  });
  child.stderr?.resume();
  return await new Promise((resolve) => child.on('close', (_, signal) => resolve(signal ?? said.trim())));
}

describe('a broker that was taken over and may read one file, when it tries to', () => {
  test.each([
    ['read the granted file', 'done'],
    ['write the file granted for reading', 'EACCES'],
    ['read another file', 'EACCES'],
    ['open in its own thread', 'EPERM'],
    ['remove a file', 'EACCES'],
    ['remove a file in its own thread', 'EPERM'],
    ['make a socket', 'EPERM'],
    ['run a program', 'EPERM'],
    ["read another process's environment", 'EACCES'],
    ["take a privileged process's descriptor", 'EPERM'],
    ['stop a process', 'EPERM'],
    ['make a tap device', 'EACCES'],
    ['take all memory', 'Array buffer allocation failed'],
    ['raise a limit', 'EPERM'],
  ])('%s: %s', async (attempt, outcome) => {
    using directory = scratch();
    const file = join(directory.path, 'file');
    writeFileSync(file, 'x');
    expect(await takenOver([`open ${file}:ro`], [attempt, file, String(process.pid)])).toBe(outcome);
    expect(existsSync(file)).toBe(true);
  });
});

test('grants bring what they need, and the sealed stage takes it away again', async () => {
  const rules = ['connect tcp:127.0.0.1:1', 'tap rt*'];
  expect(await takenOver(rules, ['make a socket'])).toBe('done');
  expect(await takenOver(rules, ['make a socket when sealed'])).toBe('EPERM');
});

test('the launcher reads all of it from outside, in each of its stages', async () => {
  const broker = await launchBroker({
    profile: loadProfile('qemu'),
    log: 'ignore',
    ownedPaths: [],
    journal: newJournal(),
    deadlineMs,
  });
  try {
    for (const epoch of [0, 1, 2]) {
      if (epoch > 0) await broker.client.enterStage(epoch);
      // It takes the rest from itself after its answer, and before the next.
      await broker.client.status();
      const filters = epoch === 2 ? '4' : '2';
      expect(readFileSync(`/proc/${broker.pid}/status`, 'utf8')).toMatch(
        new RegExp(`^Seccomp_filters:\\s+${filters}$`, 'm'),
      );
      expect(attestBroker(broker.pid, broker.confinement, deadlineMs)).toMatchObject({
        ok: true,
        mechanisms: [
          { name: 'broker-seccomp', state: 'enforced' },
          { name: 'broker-capabilities', state: 'enforced' },
          { name: 'broker-landlock', state: 'enforced' },
        ],
      });
    }
  } finally {
    await endBroker(broker);
  }
});

test('a process that is less confined is not accepted as a broker', async () => {
  const own = confinementFor({ profile: profileOf({ start: { rules: [] } }), ...needs });
  const other = spawn('sleep', ['60']);
  const ended = new Promise((resolve) => other.on('close', resolve));
  try {
    expect(() => requireConfined(other.pid as number, own, deadlineMs)).toThrow(
      expect.objectContaining({ code: 'VERIFICATION_FAILED' }),
    );
  } finally {
    other.kill();
    await ended;
  }
});

test('other programs than were compiled are noticed, and capabilities that were to go', async () => {
  await using broker = await startBroker(profileOf({ start: { rules: ['tap rt*'] } }));
  const own = confinementFor({ profile: profileOf({ start: { rules: ['tap rt*'] } }), ...needs });
  expect(attestBroker(broker.pid, own, deadlineMs).ok).toBe(true);
  const fewer = confinementFor({ profile: profileOf({ start: { rules: [] } }), ...needs });
  expect(attestBroker(broker.pid, fewer, deadlineMs).mechanisms.map(({ state }) => state)).toEqual([
    'absent',
    'absent',
    'enforced',
  ]);
});
