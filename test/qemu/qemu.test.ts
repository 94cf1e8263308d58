// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { Qemu } from '../../core/qemu/qemu.ts';
import { native } from '../../native/index.ts';
import { directFdSource } from './direct-fd-source.ts';
import { FakeMonitor, greeting } from './fake-qemu.ts';
import { bareArguments, startQemu } from './unsandboxed.ts';

describe('the adapter of a real QEMU', () => {
  test('knows its threads, lets it run, pauses it and ends it', async () => {
    await using vm = await startQemu([...bareArguments, '-smp', '2', '-object', 'iothread,id=io0']);
    const { qemu } = vm;
    expect(qemu.version.major).toBeGreaterThanOrEqual(7);
    expect(await qemu.status()).toMatchObject({ status: 'prelaunch', running: false });

    const vcpus = await qemu.vcpuThreads();
    const ioThreads = await qemu.ioThreads();
    expect(vcpus.length).toBeGreaterThan(0);
    expect([...ioThreads.keys()]).toEqual(['io0']);
    const roles = await qemu.threadRoles();
    expect(roles.get(vm.child.pid ?? 0)).toBe('main');
    expect(roles.get(vcpus[0] ?? 0)).toBe('vcpu');
    expect(roles.get(ioThreads.get('io0') ?? 0)).toBe('io');

    await qemu.cont();
    expect(await qemu.status()).toMatchObject({ running: true });
    await qemu.stop();
    expect(await qemu.status()).toMatchObject({ status: 'paused', running: false });
    expect(await qemu.hmp('info status')).toContain('paused');

    const exited = once(vm.child, 'exit');
    await qemu.quit();
    expect(await exited).toEqual([0, null]);
    // A second time it is gone already, which is what was wanted.
    await qemu.quit();
  });

  test('nothing of the warm-up is left', async () => {
    await using vm = await startQemu(bareArguments);
    expect(await vm.qemu.qmp.executeAny('query-named-block-nodes')).toEqual([]);
    expect(await vm.qemu.qmp.executeAny('query-fdsets')).toEqual([]);
  });

  test('a guest that runs already is refused: the barrier is behind it', async () => {
    const [ours, theirs] = native.socketPair({ type: 'stream' });
    using monitor = new FakeMonitor(theirs);
    const qemu = new Qemu(ours, directFdSource());
    const built = qemu.waitUntilBuilt();
    monitor.send(greeting);
    monitor.answer(await monitor.command());
    monitor.answer(await monitor.command(), { status: 'running', running: true });
    await expect(built).rejects.toThrow(/running.*without -S/);
    qemu.close();
  });

  test('a QEMU that is killed rejects what waits for it', async () => {
    await using vm = await startQemu(bareArguments);
    const event = vm.qemu.qmp.waitForEvent('SHUTDOWN');
    vm.child.kill('SIGKILL');
    await expect(event).rejects.toMatchObject({ code: 'QMP_CLOSED', message: expect.stringContaining('ended') });
    await expect(vm.qemu.status()).rejects.toMatchObject({
      code: 'QMP_CLOSED',
      message: expect.stringContaining('query-status'),
    });
  });

  test('a QEMU that is stopped times out, with the name of the command', async () => {
    await using vm = await startQemu(bareArguments);
    vm.child.kill('SIGSTOP');
    await expect(vm.qemu.qmp.execute('query-status', {}, { timeoutMs: 50 })).rejects.toMatchObject({
      code: 'QMP_TIMEOUT',
      message: expect.stringContaining('query-status'),
    });
    vm.child.kill('SIGCONT');
    expect(await vm.qemu.status()).toMatchObject({ status: 'prelaunch' });
  });

  test('a QEMU that cannot start says why', async () => {
    await expect(startQemu([...bareArguments, '-device', 'no-such-device'])).rejects.toThrow(/no-such-device/);
  });
});
