// SPDX-License-Identifier: Apache-2.0
// What QEMU does under a hotplug and a migration, seen by strace: it connects, binds, opens and starts nothing. And what becomes of a stage change
// while somebody traces the VMM.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type { Sandbox } from '../../core/launch/sandbox.ts';
import { ownFilterCount, readTasks } from '../../core/stages/tasks.ts';
import { launchBare } from './bare.ts';
import { waitFor } from './processes.ts';

const folder = mkdtempSync(join(tmpdir(), 'ratchet-strace-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** A tracer of every task of the VM, attached when this returns; `detach` gives what it wrote. */
async function trace(sandbox: Sandbox): Promise<{ readonly pid: number; readonly detach: () => Promise<string> }> {
  const file = join(folder, `trace-${sandbox.pid}`);
  const strace: ChildProcess = spawn(
    'strace',
    ['-f', '-qq', '-p', String(sandbox.pid), '-e', 'trace=network,file,process', '-o', file],
    { stdio: 'ignore' },
  );
  await waitFor('strace on every task', () =>
    readTasks(sandbox.pid).every(({ tid }) => new RegExp(`^TracerPid:\\s+${strace.pid}$`, 'm').test(statusOf(tid))),
  );
  return {
    pid: strace.pid ?? 0,
    detach: async () => {
      strace.kill('SIGINT');
      await once(strace, 'exit');
      return readFileSync(file, 'utf8');
    },
  };
}

function statusOf(tid: number): string {
  return readFileSync(`/proc/${tid}/status`, 'utf8');
}

/** Lines in which the kernel did what was asked. Threads are no new programs. */
function successes(text: string, calls: RegExp): readonly string[] {
  return text
    .split('\n')
    .filter((line) => calls.test(line) && !/= -1 |= \? |<unfinished/.test(line) && !line.includes('CLONE_THREAD'));
}

// The end of an interrupted clone does not repeat its flags; its beginning has them.
const escapes = /\b(connect|bind|open|openat|openat2|creat|execve|execveat|fork|vfork|clone3)(\(| resumed)|\bclone\(/;

describe('a tightened QEMU under strace', () => {
  test('connects, binds, opens and starts nothing over hotplug and migration', async () => {
    const image = join(folder, 'disk.img');
    writeFileSync(image, Buffer.alloc(64 * 1024));
    const address = `unix:${join(folder, 'migrate.sock')}`;
    await using server = await listenOnLoopback();
    const allow = [
      { request: 'open', target: image },
      { request: 'connect', target: address },
      { request: 'bind', target: address },
      { request: 'connect', target: server.address },
    ] as const;
    const options = { allow, features: ['nic-socket'] };
    await using source = await launchBare(['-smp', '1,maxcpus=2'], options);
    await using destination = await launchBare(['-smp', '1,maxcpus=2', '-incoming', 'defer'], options);
    // A new vCPU gets its role's filter, which a tracer would prevent.
    for (const { vmm } of [source, destination]) await vmm.hotplug.addCpu({ id: 'cpu1' });
    const traces = [await trace(source), await trace(destination)];
    for (const { vmm } of [source, destination]) {
      await vmm.hotplug.addNic({ id: 'nic1', connect: server.address, pciAddress: '10' });
      await vmm.hotplug.addDisk({ id: 'disk1', path: image, pciAddress: '11' });
    }
    const incoming = await destination.vmm.acceptMigration(address, {});
    await source.vmm.migrate(address, {});
    await incoming.completed;
    expect(await destination.vmm.status()).toMatchObject({ running: true });
    expect(await source.vmm.status()).toMatchObject({ status: 'postmigrate' });
    // What must be refused is seen by the same eyes: the trace does not miss such calls.
    await source.vmm.qmp
      .executeAny('blockdev-add', { driver: 'file', 'node-name': 'x', filename: '/etc/shadow' })
      .catch(() => undefined);
    const [ofSource = '', ofDestination = ''] = [await traces[0]?.detach(), await traces[1]?.detach()];
    expect(ofSource).toMatch(/recvmsg\(.*SCM_RIGHTS/);
    expect(ofDestination).toMatch(/accept4?\(.*= \d+/);
    expect(ofSource).toMatch(/openat\(.*"\/etc\/shadow".*= -1 EACCES/);
    expect(successes(ofSource, escapes)).toEqual([]);
    expect(successes(ofDestination, escapes)).toEqual([]);
    for (const sandbox of [source, destination]) expect(await sandbox.attest()).toMatchObject({ ok: true });
  });
});

describe('a stage change while somebody traces the VMM', () => {
  test('fails before anything is changed; the VM lives on, and can be moved when the tracer has gone', async () => {
    await using sandbox = await launchBare([], {});
    const strace = await trace(sandbox);
    const failure = await sandbox.enter('sealed').then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(failure).toMatchObject({
      code: 'INJECTION_FAILED',
      message: expect.stringMatching(
        new RegExp(
          `sealed was not entered.*unchanged.*broker already judges by sealed.*process ${strace.pid} traces it`,
        ),
      ),
    });
    expect(sandbox.stage).toBe('running');
    expect(await sandbox.vmm.status()).toMatchObject({ running: true });
    for (const task of readTasks(sandbox.pid)) {
      expect(task.mode).toBe(2);
      expect(task.filters).toBeGreaterThanOrEqual(ownFilterCount() + 2);
    }
    await strace.detach();
    expect(await sandbox.attest()).toMatchObject({ ok: true, stage: 'running' });
    // The broker is there already, and does not mind.
    expect(await sandbox.enter('sealed')).toMatchObject({ ok: true, stage: 'sealed' });
    for (const task of readTasks(sandbox.pid)) expect(task.filters).toBeGreaterThanOrEqual(ownFilterCount() + 3);
  });

  test('a launch under a tracer of every child fails, and leaves nothing', async () => {
    // gdb and strace -f of the launcher both trace the VMM from its first instruction on.
    const script = `
      import { launch } from './dist/core/launch/launch.js';
      const command = ['qemu-system-x86_64', '-no-user-config', '-nodefaults', '-machine', 'pc,accel=tcg', '-display', 'none'];
      await launch({ command }).then(
        () => console.log('launched'),
        (error) => console.log(error.code + ': ' + error.message),
      );
      process.exit(0);`;
    const log = join(folder, 'launcher-trace');
    const strace = spawn(
      'strace',
      ['-f', '-qq', '-e', 'trace=none', '-o', log, process.execPath, '--input-type=module', '-e', script],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    let said = '';
    strace.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      said += chunk;
    });
    await once(strace, 'close');
    expect(said).toMatch(/^INJECTION_FAILED: stage running was not entered.*process \d+ traces it/);
  });
});

async function listenOnLoopback(): Promise<AsyncDisposable & { readonly address: string }> {
  const server = createServer((socket) => socket.on('error', () => undefined).resume());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return {
    address: `tcp:127.0.0.1:${typeof address === 'object' ? address?.port : 0}`,
    [Symbol.asyncDispose]: async () => void server.close(),
  };
}
