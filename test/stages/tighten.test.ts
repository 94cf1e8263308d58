// SPDX-License-Identifier: Apache-2.0
// The proof from outside, on a real QEMU: what it finds when something is not as it should be, and what a failed stage leaves.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { RatchetError } from '../../core/errors.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import type { StagePrograms } from '../../core/stages/chain.ts';
import { ownFilterCount, readTasks, tracerOf } from '../../core/stages/tasks.ts';
import { NothingChanged, tighten } from '../../core/stages/tighten.ts';
import { verifyThreads } from '../../core/stages/verify.ts';
import { native } from '../../native/index.ts';
import { launchBare } from '../launch/bare.ts';
import { makeCall } from '../launch/make-call.ts';
import { shippedPrograms } from '../launch/shipped-programs.ts';

const inheritedFilters = ownFilterCount();
const deadlineMs = 10_000;
const [start, running] = shippedPrograms() as readonly StagePrograms[] as [StagePrograms, StagePrograms];

describe('verification', () => {
  test('finds a filter too few, one too many, and a program that is not the compiled one', async () => {
    await using sandbox = await launchBare([], { until: 'start' });
    using pidfd = new OwnedFd(native.openPidfd({ pid: sandbox.pid, thread: false }));
    const verify = (stages: readonly StagePrograms[], inherited = inheritedFilters): unknown =>
      verifyThreads({
        pid: sandbox.pid,
        pidfd: pidfd.fd,
        inheritedFilters: inherited,
        stages,
        roles: new Map(),
        deadlineMs,
      });
    expect(verify([start])).toMatchObject({ readBackMissing: undefined });
    expect(() => verify([start, running])).toThrow(/thread \d+ \(.*\) has \d+ filters, not \d+/);
    expect(() => verify([])).toThrow(/filters, not/);
    expect(() => verify([start], inheritedFilters + 1)).toThrow(/filters, not/);
    expect(() => verify([running])).toThrow(/the chain of installed programs is not the compiled one/);
    const altered = Buffer.from(start.program);
    altered[altered.length - 1] = (altered[altered.length - 1] ?? 0) ^ 1;
    expect(() => verify([{ ...start, program: altered }])).toThrow(/VERIFICATION|not the compiled one/);
  });

  test('finds a process without filters, and one that is gone', async () => {
    const child = spawn('sleep', ['1000'], { stdio: 'ignore' });
    const pid = child.pid ?? 0;
    using pidfd = new OwnedFd(native.openPidfd({ pid, thread: false }));
    const verify = (): unknown =>
      verifyThreads({ pid, pidfd: pidfd.fd, inheritedFilters: 0, stages: [start], roles: new Map(), deadlineMs });
    expect(verify).toThrow(/mode 0, not 2|no_new_privs off|filters, not/);
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
    expect(verify).toThrow(/no threads left/);
    expect(readTasks(pid)).toEqual([]);
    expect(tracerOf(pid)).toBe(0);
  });
});

describe('tighten', () => {
  test('what a stage requires and what comes between the look and the filter: the stage is on, and not entered', async () => {
    await using sandbox = await launchBare([], { until: 'start' });
    const { pid } = sandbox;
    using pidfd = new OwnedFd(native.openPidfd({ pid, thread: false }));
    const source = { file: 'p.yaml', line: 3, column: 1 };
    const noFds = [{ kind: '/dev/zero', why: 'a test', source }];
    const entering = tighten({
      pid,
      pidfd: pidfd.fd,
      stages: [start, running],
      askRoles: () => Promise.resolve(new Map()),
      given: new Set(),
      inheritedFilters,
      deadlineMs,
      requires: { noFds, noChildren: false, sameFilters: false },
      tellBroker: () => Promise.resolve(),
      moveBroker: async () => {
        expect(await makeCall({ pid, tid: pid }, 'openat', [-100, '/dev/zero', 0])).toBeGreaterThan(2);
      },
    });
    await expect(entering).rejects.toMatchObject({
      code: 'PRECONDITION_FAILED',
      message: expect.stringMatching(/running was entered, but what it requires does not hold.*fd \d+ is \/dev\/zero/),
    });
    // Whoever calls this has to kill the process then.
    await expect(entering).rejects.not.toBeInstanceOf(NothingChanged);
    expect(readTasks(pid).map(({ filters }) => filters - inheritedFilters)).toEqual(readTasks(pid).map(() => 2));
  });

  test('a broker that does not follow: nothing changed', async () => {
    await using sandbox = await launchBare([], { until: 'start' });
    using pidfd = new OwnedFd(native.openPidfd({ pid: sandbox.pid, thread: false }));
    const moving = tighten({
      pid: sandbox.pid,
      pidfd: pidfd.fd,
      stages: [start, running],
      askRoles: () => Promise.resolve(new Map()),
      given: new Set(),
      inheritedFilters,
      deadlineMs,
      tellBroker: () => Promise.resolve(),
      moveBroker: () => Promise.reject(new RatchetError('BROKER_TIMEOUT', 'it sleeps')),
    });
    await expect(moving).rejects.toBeInstanceOf(NothingChanged);
    await expect(moving).rejects.toMatchObject({
      code: 'BROKER_TIMEOUT',
      message: expect.stringMatching(/running was not entered: the broker did not follow.*it sleeps/),
    });
    expect(await sandbox.attest()).toMatchObject({ ok: true, stage: 'start' });
  });

  test('a program that the kernel does not take: nothing changed', async () => {
    await using sandbox = await launchBare([], { until: 'start' });
    using pidfd = new OwnedFd(native.openPidfd({ pid: sandbox.pid, thread: false }));
    const moving = tighten({
      pid: sandbox.pid,
      pidfd: pidfd.fd,
      // One instruction that is none.
      stages: [start, { name: 'nonsense', program: Buffer.from('ffffffffffffffff', 'hex'), roles: {} }],
      askRoles: () => Promise.resolve(new Map()),
      given: new Set(),
      inheritedFilters,
      deadlineMs,
      tellBroker: () => Promise.resolve(),
      moveBroker: () => Promise.resolve(),
    });
    await expect(moving).rejects.toMatchObject({ code: 'INJECTION_FAILED', errno: 'EINVAL' });
    await expect(moving).rejects.toBeInstanceOf(NothingChanged);
    expect(await sandbox.attest()).toMatchObject({ ok: true, stage: 'start' });
    expect(await sandbox.enter('running')).toMatchObject({ ok: true });
  });

  test('every thread has the filter while QEMU makes threads all the time', async () => {
    await using sandbox = await launchBare([], { until: 'start' });
    let storm = true;
    const creating = (async () => {
      for (let index = 0; storm; index++) {
        await sandbox.vmm.qmp.executeAny('object-add', { 'qom-type': 'iothread', id: `io${index}` });
        await sandbox.vmm.qmp.executeAny('object-del', { id: `io${index}` });
      }
    })();
    for (const stage of ['running', 'sealed']) expect(await sandbox.enter(stage)).toMatchObject({ ok: true, stage });
    storm = false;
    await creating;
    for (const task of readTasks(sandbox.pid)) {
      expect(task.mode).toBe(2);
      // More on threads with a role.
      expect(task.filters).toBeGreaterThanOrEqual(inheritedFilters + 3);
    }
  });
});
