// SPDX-License-Identifier: Apache-2.0
// A VMM that is the first process of its own pid namespace, and still the launcher's child.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, readlinkSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { launchVmm } from '../../core/launch/launch.ts';
import type { Sandbox } from '../../core/launch/sandbox.ts';
import type { LayerOptions } from '../../core/layers/plan.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import type { Qemu } from '../../core/qemu/qemu.ts';
import type { Vmm } from '../../core/vmm/vmm.ts';
import { native } from '../../native/index.ts';
import { packagePath } from '../../native/package-path.ts';
import { statusField } from '../launch/processes.ts';
import { buildProgram } from '../native/build-program.ts';
import { readable } from '../native/fds.ts';
import { programProfile } from './program-profile.ts';

let sandbox: Sandbox<Vmm> | undefined;

afterEach(async () => {
  await sandbox?.kill();
  sandbox = undefined;
});

async function startQemu(layers: LayerOptions): Promise<Sandbox<Vmm>> {
  sandbox = await launchVmm({
    command: [
      'qemu-system-x86_64',
      ...[
        '-nodefaults',
        '-name',
        'vm,debug-threads=on',
        '-no-user-config',
        '-display',
        'none',
        '-machine',
        'q35,accel=tcg',
        '-m',
        '32',
        '-smp',
        '2,maxcpus=3',
      ],
      ...['-object', 'iothread,id=io0'],
    ],
    stdio: ['ignore', 'ignore', 'pipe'],
    layers,
  });
  return sandbox;
}

describe('QEMU in a pid namespace', () => {
  it('is its first process, a child of the launcher, and tied to it', async () => {
    const { pid } = await startQemu({});
    expect(readlinkSync(`/proc/${pid}/ns/pid`)).not.toBe(readlinkSync('/proc/self/ns/pid'));
    expect(statusField(pid, 'NSpid')).toBe(`${pid}\t1`);
    expect(statusField(pid, 'PPid')).toBe(String(process.pid));
    const found = (await sandbox?.attest())?.mechanisms.find(({ name }) => name === 'namespace-pid');
    expect(found).toEqual({ name: 'namespace-pid', state: 'enforced', reason: readlinkSync(`/proc/${pid}/ns/pid`) });
  });

  it('calls its threads by other numbers, and their roles are given to the right ones', async () => {
    const { pid, vmm } = await startQemu({});
    const own = (await (vmm as Qemu).qmp.execute('query-cpus-fast', {})).map((cpu) => cpu['thread-id']);
    expect(Math.max(...own)).toBeLessThan(100);
    const threads = await (vmm as Qemu).vcpuThreads();
    const names = threads.map((tid) => readFileSync(`/proc/${pid}/task/${tid}/comm`, 'utf8').trim());
    expect(names).toEqual(['CPU 0/TCG', 'CPU 1/TCG']);
    const report = await sandbox?.attest();
    expect(report?.ok).toBe(true);
    const roles = new Map(report?.threads.map(({ tid, role }) => [tid, role]));
    expect(threads.map((tid) => roles.get(tid))).toEqual(['vcpu', 'vcpu']);
    expect([...roles.values()].filter((role) => role === 'io')).toHaveLength(1);
  });

  it('ends with the status that its launcher is told, and quits when it is asked', async () => {
    const vm = await startQemu({});
    await vm.close();
    expect(await vm.exited).toEqual({ code: 0, signal: null });
  });

  it('ends when its launcher is killed', async () => {
    const script = `
      import { launch } from '${packagePath('dist/core/index.js')}';
      const vm = await launch({ command: ['qemu-system-x86_64', '-nodefaults', '-display', 'none'], layers: {} });
      console.log(vm.pid);`;
    const launcher = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = (await once(launcher.stdout, 'data')) as [Buffer];
    using pidfd = new OwnedFd(native.openPidfd({ pid: Number(line), thread: false }));
    launcher.kill('SIGKILL');
    await readable(pidfd.fd);
  });

  it('is killed by its filter all the same', async () => {
    sandbox = await launchVmm({
      command: [buildProgram('escape', 'test/hostile/programs')],
      profile: programProfile('swtpm'),
      stdio: ['pipe', 'pipe', 'inherit'],
      layers: {},
    });
    sandbox.stdin.write('mount 0 0\n');
    expect(await sandbox.exited).toEqual({ code: null, signal: 'SIGSYS' });
  });
});
