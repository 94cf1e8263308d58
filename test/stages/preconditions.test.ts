// SPDX-License-Identifier: Apache-2.0
// What a stage may require of a process, looked at on programs that hold just that, and on QEMU with a ring.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { load as parse } from 'js-yaml';
import { afterEach, describe, expect, test } from 'vitest';
import { OwnedFd } from '../../core/owned-fd.ts';
import type { Requirements } from '../../core/policy/types.ts';
import { findObstacles } from '../../core/stages/preconditions.ts';
import { native } from '../../native/index.ts';
import { packagePath } from '../../native/package-path.ts';
import { scratch } from '../brokers/rig.ts';
import { launchBare } from '../launch/bare.ts';
import { makeCall } from '../launch/make-call.ts';
import { buildProgram } from '../native/build-program.ts';

let holder: ChildProcess | undefined;

afterEach(async () => {
  if (holder === undefined) return;
  const ended = once(holder, 'exit');
  // Its child, if it has one, reads from the same pipe.
  holder.stdin?.end();
  await ended;
  holder = undefined;
});

async function obstaclesOf(held: readonly string[], requires: Partial<Requirements>): Promise<readonly string[]> {
  const child = spawn(buildProgram('holder'), held, { stdio: ['pipe', 'pipe', 'inherit'] });
  holder = child;
  const [line] = await once(createInterface({ input: child.stdout }), 'line');
  expect(line).toBe('ready');
  const pid = child.pid as number;
  using pidfd = new OwnedFd(native.openPidfd({ pid, thread: false }));
  return findObstacles(
    { pid, pidfd: pidfd.fd, stage: 'running', filters: 0 },
    { noFds: [], noChildren: false, sameFilters: false, ...requires },
  );
}

function without(...kinds: readonly string[]): Partial<Requirements> {
  return { noFds: kinds.map((kind) => ({ kind, why: 'a test', source: { file: 'p.yaml', line: 3, column: 1 } })) };
}

describe('a look from outside finds', () => {
  test.each([
    [
      'ring',
      'io_uring',
      /^fd \d+ is anon_inode:\[io_uring\], of kind io_uring \(what a ring does .*\), against p\.yaml:3: a test$/,
    ],
    ['mapped-ring', 'io_uring', /^a mapped io_uring ring/],
    ['pidfd', 'pidfd', /^fd \d+ is .*pidfd/],
    // In a table of descriptors that the thread has for itself.
    ['pidfd-of-a-thread', 'pidfd', /^fd \d+ is .*pidfd/],
    ['unix-datagram', 'unix-datagram', /^fd \d+ is socket:\[\d+\], of kind unix-datagram/],
    ['packet', 'packet-socket', /^fd \d+ is socket:/],
    ['raw', 'raw-socket', /^fd \d+ is socket:/],
  ])('%s', async (held, kind, words) => {
    const found = await obstaclesOf([held], without(kind));
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(words);
  });

  test('a ring that a thread of the kernel serves without any call, seen through that thread too', async () => {
    const found = await obstaclesOf(['polled-ring'], without('io_uring'));
    expect(found.length).toBeGreaterThan(0);
    for (const each of found) expect(each).toMatch(/of kind io_uring/);
  });

  test('nothing where there is nothing, or only what was not asked for', async () => {
    expect(await obstaclesOf(['unix-stream', 'pidfd'], without('io_uring', 'unix-datagram', 'raw-socket'))).toEqual([]);
  });

  test('a child process, and a thread with too few filters', async () => {
    const found = await obstaclesOf(['child'], { noChildren: true });
    expect(found).toEqual([expect.stringMatching(/^it has the child process \d+ \(holder\)$/)]);
    const pid = holder?.pid as number;
    using pidfd = new OwnedFd(native.openPidfd({ pid, thread: false }));
    const laggards = findObstacles(
      {
        pid,
        pidfd: pidfd.fd,
        stage: 'running',
        filters: 1 + Number(/Seccomp_filters:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]),
      },
      { noFds: [], noChildren: false, sameFilters: true },
    );
    expect(laggards).toEqual([expect.stringMatching(/^thread \d+ \(holder\) has \d+ filters, not \d+$/)]);
  });
});

/** The shipped profile, with rings permitted while the machine is built. */
function profileWithRings(folder: string, running = ''): string {
  const profile = join(folder, 'ring.yaml');
  const ring = 'io_uring_setup, io_uring_enter, io_uring_register';
  writeFileSync(
    profile,
    `${readFileSync(packagePath('profiles/qemu.yaml'), 'utf8')}
features:
  rings:
    why: a test
    stages:
      start: { syscalls: [{ allow: [${ring}], risk: a test, why: a test }] }
${running}`,
  );
  return profile;
}

function diskWithRing(folder: string): readonly string[] {
  const image = join(folder, 'disk.img');
  writeFileSync(image, Buffer.alloc(64 * 1024));
  return ['-drive', `file=${image},format=raw,if=none,aio=io_uring`];
}

describe('QEMU with a ring', () => {
  test('enters the stage when its feature tolerates that', async () => {
    using folder = scratch();
    const enters = '{ allow: [io_uring_enter], risk: a test, why: a test }';
    const profile = profileWithRings(folder.path, `      running: { tolerates: [io_uring], syscalls: [${enters}] }\n`);
    await using sandbox = await launchBare(diskWithRing(folder.path), { profile, features: ['rings'] });
    expect(await sandbox.attest()).toMatchObject({ ok: true, stage: 'running' });
  });

  test('does not enter the stage that requires none, is told which, and lives on in the earlier one', async () => {
    using folder = scratch();
    const profile = profileWithRings(folder.path);
    await using sandbox = await launchBare(diskWithRing(folder.path), {
      profile,
      features: ['rings'],
      until: 'start',
    });
    await expect(sandbox.enter('running')).rejects.toMatchObject({
      code: 'PRECONDITION_FAILED',
      message: expect.stringMatching(
        /stage running was not entered.*fd \d+ is anon_inode:\[io_uring\], of kind io_uring/,
      ),
    });
    expect(sandbox.stage).toBe('start');
    expect(await sandbox.vmm.status()).toMatchObject({ status: 'prelaunch' });
  });
});

test('what comes between the look and the filter is the end of the VMM: the filter cannot be taken back, and what it should keep out is in', async () => {
  const profile = parse(readFileSync(packagePath('profiles/qemu.yaml'), 'utf8')) as {
    stages: { running: { requires: { 'no-fds': string[] } } };
  };
  profile.stages.running.requires['no-fds'].push('/dev/zero');
  await using sandbox = await launchBare([], { profile, until: 'start' });
  const { broker, pid } = sandbox;
  const enterStage = broker.enterStage.bind(broker);
  // The broker moves after the first look and before the filter.
  broker.enterStage = async (epoch) => {
    await makeCall({ pid, tid: pid }, 'openat', [-100, '/dev/zero', 0]);
    await enterStage(epoch);
  };
  await expect(sandbox.enter('running')).rejects.toMatchObject({
    code: 'PRECONDITION_FAILED',
    message: expect.stringMatching(/was entered, but what it requires does not hold.*fd \d+ is \/dev\/zero/),
  });
  expect(await sandbox.exited).toMatchObject({ signal: 'SIGKILL' });
  expect(await sandbox.attest()).toMatchObject({ ok: false });
});
