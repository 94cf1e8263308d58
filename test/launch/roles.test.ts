// SPDX-License-Identifier: Apache-2.0
// Threads of a real QEMU with filters of their own: given before the guest runs, kept and added to in later stages, and given to threads that come later.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { EnforcementReport } from '../../core/launch/report.ts';
import type { Sandbox } from '../../core/launch/sandbox.ts';
import { ownFilterCount, readTasks } from '../../core/stages/tasks.ts';
import { sha256 } from '../../core/stages/verify.ts';
import { ratchet } from '../cli/ratchet.ts';
import { launchBare } from './bare.ts';
import { profileWithRoles, vcpuAndIo } from './profile-with-roles.ts';

const inherited = ownFilterCount();

/** What is installed on the threads of a role, each different chain once: `start running running:vcpu`. */
function chains(report: EnforcementReport, role: string): string[] {
  const threads = report.threads.filter((thread) => thread.role === role);
  return [
    ...new Set(
      threads.map(({ programs }) =>
        programs
          .filter(({ mark }) => mark === undefined)
          .map(({ stage, role }) => (role === undefined ? stage : `${stage}:${role}`))
          .join(' '),
      ),
    ),
  ];
}

function count(sandbox: Sandbox, tid: number): number | undefined {
  return readTasks(sandbox.pid).find((task) => task.tid === tid)?.filters;
}

describe('roles', () => {
  test('hold from before the guest runs, through a later stage, and for vCPUs and iothreads that come later', async () => {
    await using sandbox = await launchBare(['-smp', '2,maxcpus=4', '-object', 'iothread,id=io0'], {
      profile: profileWithRoles(vcpuAndIo),
    });
    const before = await sandbox.attest();
    expect(before).toMatchObject({ ok: true, stage: 'running' });
    expect(before.mechanisms.find(({ name }) => name === 'roles')).toEqual({
      name: 'roles',
      state: 'enforced',
      reason: 'vcpu on 2 threads, io on 1 threads',
    });
    expect(chains(before, 'vcpu')).toEqual(['start running running:vcpu']);
    expect(chains(before, 'io')).toEqual(['start running running:io']);
    expect(chains(before, 'main')).toEqual(['start running']);

    // The guest runs on: the pause was for the new vCPU only.
    await sandbox.vmm.hotplug.addCpu();
    await sandbox.vmm.hotplug.addIoThread('io1');
    expect(await sandbox.vmm.status()).toMatchObject({ running: true });
    const plugged = await sandbox.attest();
    expect(plugged).toMatchObject({ ok: true });
    expect(plugged.threads.filter(({ role }) => role === 'vcpu')).toHaveLength(3);
    expect(chains(plugged, 'vcpu')).toEqual(['start running running:vcpu']);
    expect(chains(plugged, 'io')).toEqual(['start running running:io']);

    // TSYNC cannot: each thread gets the stage by itself.
    const sealed = await sandbox.enter('sealed');
    expect(sealed).toMatchObject({ ok: true, stage: 'sealed' });
    expect(chains(sealed, 'vcpu')).toEqual(['start running running:vcpu sealed sealed:vcpu']);
    expect(chains(sealed, 'io')).toEqual(['start running running:io sealed']);
    expect(chains(sealed, 'main')).toEqual(['start running sealed']);
    expect(await sandbox.vmm.status()).toMatchObject({ running: true });

    // One that is made now has its maker's filters first.
    await sandbox.vmm.hotplug.addCpu();
    const last = await sandbox.attest();
    expect(last).toMatchObject({ ok: true });
    expect(chains(last, 'vcpu')).toEqual([
      'start running running:vcpu sealed sealed:vcpu',
      'start running sealed running:vcpu sealed:vcpu',
    ]);
    const { threads } = await sandbox.status();
    for (const { tid, role, filters } of threads) {
      // With the marks of their roles.
      const own = { vcpu: 5 + 3, io: 4 + 1, main: 3, worker: 3 }[role];
      expect([role, filters]).toEqual([role, inherited + (own ?? 0)]);
      expect(count(sandbox, tid)).toBe(filters);
    }
  });

  test('a vCPU that was plugged in behind our back is not attested', async () => {
    await using sandbox = await launchBare(['-smp', '1,maxcpus=2'], { profile: profileWithRoles(vcpuAndIo) });
    const slots = (await sandbox.vmm.qmp.executeAny('query-hotpluggable-cpus')) as {
      type: string;
      props: Record<string, number>;
      'qom-path'?: string;
    }[];
    const slot = slots.find((candidate) => candidate['qom-path'] === undefined);
    await sandbox.vmm.qmp.executeAny('device_add', { driver: slot?.type, id: 'behind', ...slot?.props });
    expect(await sandbox.attest()).toMatchObject({
      ok: false,
      mechanisms: expect.arrayContaining([
        expect.objectContaining({
          name: 'seccomp',
          state: 'absent',
          reason: expect.stringMatching(/role vcpu.* has 2 filters, not 6/),
        }),
      ]),
    });
    expect(readdirSync(`/proc/${sandbox.pid}/task`).length).toBeGreaterThan(2);
  });
});

test('the report says from what each program was compiled, and compile gives the same bytes', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'ratchet-roles-'));
  const profile = join(folder, 'own.yaml');
  writeFileSync(profile, JSON.stringify(profileWithRoles(vcpuAndIo)));
  const output = join(folder, 'program');
  try {
    await using sandbox = await launchBare([], {
      profile,
      allow: [{ request: 'connect', target: 'tcp:127.0.0.1:9' }],
    });
    const report = await sandbox.attest();
    const { file, features, arch } = report.profile;
    const { programs } = report.threads.find(({ role }) => role === 'vcpu') ?? { programs: [] };
    expect(programs.map(({ mark = false }) => mark)).toEqual([false, false, true, true, true, false]);
    for (const { stage, role, mark, sha256: attested } of programs) {
      if (mark === true) continue;
      const options = ['--stage', stage, '--arch', arch, ...features.flatMap((name) => ['--feature', name])];
      const forRole = role === undefined ? [] : ['--role', role];
      expect(ratchet('compile', file, ...options, ...forRole, '--installed', '-o', output)).toMatchObject({
        status: 0,
      });
      expect([stage, role, sha256(readFileSync(output))]).toEqual([stage, role, attested]);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

describe('a profile whose roles could not be given is refused before anything starts:', () => {
  test.each([
    [
      'a role of threads that come and go',
      { running: { worker: ['bind'] } },
      /role worker, which no thread can be given.*vcpu and io/,
    ],
    ['the role of the main thread', { running: { main: ['bind'] } }, /role main, which no thread can be given/],
    [
      'roles in the first stage',
      { start: { vcpu: ['bind'] } },
      /start has roles, but it is entered before there are threads/,
    ],
    [
      'a role that could be given no later stage',
      { running: { vcpu: ['seccomp'] } },
      /role vcpu of stage running does not let a thread/,
    ],
  ])('%s', async (_, roles, message) => {
    await expect(launchBare([], { profile: profileWithRoles(roles) })).rejects.toMatchObject({
      code: 'PROFILE_INVALID',
      message: expect.stringMatching(message),
    });
  });
});

test('a later stage reaches vCPUs that run their guest in KVM', async () => {
  const machine = ['-machine', 'pc,accel=kvm', '-smp', '2,maxcpus=3'];
  await using sandbox = await launchBare(machine, { profile: profileWithRoles(vcpuAndIo) });
  expect(await sandbox.vmm.qmp.executeAny('query-kvm')).toMatchObject({ enabled: true });
  expect(await sandbox.enter('sealed')).toMatchObject({ ok: true, stage: 'sealed' });
  await sandbox.vmm.hotplug.addCpu();
  const report = await sandbox.attest();
  expect(report).toMatchObject({ ok: true });
  expect(report.threads.filter(({ role }) => role === 'vcpu').map(({ filters }) => filters - inherited)).toEqual([
    8, 8, 8,
  ]);
  expect(await sandbox.vmm.status()).toMatchObject({ running: true });
});
