// SPDX-License-Identifier: Apache-2.0
// One launch through all stages, looked at from outside: in /proc, and by asking the VMM and the broker for what they must refuse.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { SandboxEvent } from '../../core/launch/events.ts';
import type { Sandbox } from '../../core/launch/sandbox.ts';
import { ownFilterCount, readTasks } from '../../core/stages/tasks.ts';
import { sha256 } from '../../core/stages/verify.ts';
import { launchBare, nextEvent } from './bare.ts';
import { fdTable, seccompListener, statusField, waitFor } from './processes.ts';
import { shippedPrograms } from './shipped-programs.ts';

const inherited = ownFilterCount();

describe('a launched VM', () => {
  let sandbox: Sandbox;
  let server: Server;
  let target: string;
  let connections = 0;
  const folder = mkdtempSync(join(tmpdir(), 'ratchet-stages-'));
  const image = join(folder, 'disk.img');
  writeFileSync(image, Buffer.alloc(64 * 1024));

  beforeAll(async () => {
    server = createServer((socket) => {
      connections++;
      // It reads nothing, so that a migration to it does not complete.
      socket.on('error', () => undefined);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    target = `tcp:127.0.0.1:${typeof address === 'object' ? address?.port : 0}`;
    sandbox = await launchBare(['-smp', '2', '-object', 'iothread,id=io0'], {
      allow: [
        { request: 'connect', target },
        { request: 'open', target: image },
      ],
    });
  });
  afterAll(async () => {
    await sandbox.close();
    server.close();
    rmSync(folder, { recursive: true });
  });

  test('is in stage running on every task, and its guest runs', async () => {
    expect(sandbox.stages).toEqual(['start', 'running', 'sealed']);
    expect(sandbox.stage).toBe('running');
    const tasks = readTasks(sandbox.pid);
    expect(tasks.length).toBeGreaterThanOrEqual(4);
    for (const task of tasks) expect(task).toMatchObject({ mode: 2, noNewPrivs: true });
    // I/O threads, vCPUs, and what they started, have their role's filter and marks on top.
    expect(new Set(tasks.map(({ filters }) => filters - inherited))).toEqual(new Set([2, 4, 6]));
    expect(await sandbox.vmm.status()).toMatchObject({ running: true });
  });

  test('has no capability left in any set, no core dumps, and dies with its launcher', () => {
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
      expect([set, statusField(sandbox.pid, set)]).toEqual([set, '0000000000000000']);
    expect(statusField(sandbox.pid, 'PPid')).toBe(String(process.pid));
    const limits = readFileSync(`/proc/${sandbox.pid}/limits`, 'utf8');
    expect(limits).toMatch(/^Max core file size +0 +0 /m);
    const [, soft, hard] = /^Max open files +(\d+) +(\d+)/m.exec(limits) ?? [];
    // Below the number of the one-exec descriptor, for good.
    expect(Number(soft)).toBeLessThanOrEqual(65535);
    expect(Number(hard)).toBeLessThanOrEqual(65535);
  });

  test('has the programs installed that the profile compiles to, as the report shows', async () => {
    const report = await sandbox.attest();
    const compiled = shippedPrograms();
    expect(report).toMatchObject({ pid: sandbox.pid, stage: 'running', ok: true });
    expect(report.mechanisms.find(({ name }) => name === 'program-read-back')).toMatchObject({ state: 'enforced' });
    const ofStages = compiled.slice(0, 2).map(({ program }) => sha256(program));
    const ofRole = (role: string): readonly string[] => [
      ...ofStages,
      ...Object.entries(compiled[1]?.roles ?? {}).flatMap(([name, { program }]) =>
        name === role ? [sha256(program)] : [],
      ),
    ];
    const installed = (programs: (typeof report.threads)[number]['programs']): readonly string[] =>
      programs.filter(({ mark }) => mark === undefined).map((program) => program.sha256);
    for (const { role, programs } of report.threads.filter((thread) => thread.role !== 'worker'))
      expect([role, installed(programs)]).toEqual([role, ofRole(role)]);
    const roles = report.threads.map(({ role }) => role);
    expect(roles.filter((role) => role === 'main')).toHaveLength(1);
    expect(roles).toContain('vcpu');
    expect(roles).toContain('io');
  });

  test('holds stdio, its monitor, and what QEMU made itself; it holds no listener', () => {
    const table = fdTable(sandbox.pid);
    expect(table.get(3)).toMatch(/^socket:/);
    const kinds = [...table].filter(([fd]) => fd > 3).map(([, what]) => what.replace(/\[?\d+\]?$/, ''));
    for (const kind of kinds)
      expect(kind).toMatch(
        /^(anon_inode:\[(eventfd|signalfd|eventpoll|timerfd)\]|anon_inode:.*|\/dev\/null|socket:|pipe:)$/,
      );
    expect([...table.values()]).not.toContain(seccompListener);
    // One copy, for the broker that takes over when this one dies.
    expect([...fdTable(process.pid).values()].filter((what) => what === seccompListener)).toHaveLength(1);
    // The one-exec descriptor is gone, and no number that high can ever be had again.
    expect([...table.keys()].filter((fd) => fd >= 1024)).toEqual([]);
  });

  test('the broker has the listener, once', async () => {
    const { broker } = await sandbox.status();
    expect(broker.alive).toBe(true);
    expect([...fdTable(broker.pid).values()].filter((what) => what === seccompListener)).toHaveLength(1);
  });

  test('status has the documented form', async () => {
    expect(await sandbox.status()).toMatchObject({
      pid: sandbox.pid,
      vmm: 'qemu-system-x86_64',
      stage: 'running',
      stages: ['start', 'running', 'sealed'],
      threads: expect.arrayContaining([
        { tid: sandbox.pid, name: expect.any(String), role: 'main', filters: inherited + 2 },
      ]),
      broker: { pid: expect.any(Number), alive: true, allowed: expect.any(Number), denied: expect.any(Number) },
      grants: expect.arrayContaining([expect.objectContaining({ request: 'connect', target })]),
    });
  });

  test('a stage that does not exist, the one it is in, and one before are refused, and nothing changes', async () => {
    await expect(sandbox.enter('runing')).rejects.toMatchObject({
      code: 'STAGE_UNKNOWN',
      message: expect.stringContaining('start, running, sealed'),
    });
    for (const stage of ['running', 'start'])
      await expect(sandbox.enter(stage)).rejects.toMatchObject({
        code: 'STAGE_BACKWARDS',
        message: expect.stringContaining(`cannot go to ${stage}`),
      });
    expect(await sandbox.attest()).toMatchObject({ ok: true, stage: 'running' });
  });

  test('the grants of the launch hold in running, through both doors', async () => {
    const before = connections;
    using fd = await sandbox.connect(target);
    expect(fd.fd).toBeGreaterThan(2);
    using file = await sandbox.open(image, 'rw');
    expect(file.fd).toBeGreaterThan(2);
    const granted = nextEvent(
      sandbox,
      (event) => event.type === 'grant' && event['door'] === 'vmm' && event['request'] === 'connect',
    );
    await sandbox.vmm.qmp.executeAny('migrate', { uri: target });
    expect(await granted).toMatchObject({ request: 'connect', target, outcome: 'ok' });
    await waitFor('both connections', () => connections - before === 2);
    await sandbox.vmm.qmp.executeAny('migrate_cancel');
    await waitFor('the end of the cancelled migration', async () => {
      const { status } = (await sandbox.vmm.qmp.executeAny('query-migrate')) as { status: string };
      return status === 'cancelled';
    });
    expect(await sandbox.vmm.status()).toMatchObject({ running: true });
  });

  test('what was not granted is refused with the rule that is missing, through both doors', async () => {
    const refused = nextEvent(sandbox, (event) => event.type === 'refusal' && event['door'] === 'launcher');
    await expect(sandbox.connect('tcp:127.0.0.1:1')).rejects.toMatchObject({ code: 'REQUEST_REFUSED' });
    expect(await refused).toMatchObject({
      stage: 'running',
      errno: 'EACCES',
      fix: expect.stringContaining('127.0.0.1:1'),
    });
    const byVmm = nextEvent(sandbox, (event) => isRefusedConnect(event));
    await sandbox.vmm.qmp.executeAny('migrate', { uri: 'tcp:127.0.0.1:1' }).catch(() => undefined);
    expect(await byVmm).toMatchObject({
      syscall: 'connect',
      stage: 'running',
      errno: 'EACCES',
      tid: expect.any(Number),
    });
  });

  test('sealed closes them, through both doors, and every program is there', async () => {
    const before = connections;
    const entered = nextEvent(sandbox, (event) => event.type === 'stage' && 'threads' in event);
    const report = await sandbox.enter('sealed');
    expect(await entered).toMatchObject({ stage: 'sealed', threads: report.threads.length });
    expect(report).toMatchObject({ ok: true, stage: 'sealed' });
    expect(new Set(report.threads.map(({ filters }) => filters - inherited))).toEqual(new Set([3, 5, 7]));
    for (const { programs } of report.threads)
      expect(programs.filter(({ role }) => role === undefined).map(({ stage }) => stage)).toEqual([
        'start',
        'running',
        'sealed',
      ]);
    await expect(sandbox.connect(target)).rejects.toMatchObject({ code: 'REQUEST_REFUSED' });
    await expect(sandbox.open(image, 'rw')).rejects.toMatchObject({ code: 'REQUEST_REFUSED' });
    const refused = nextEvent(sandbox, (event) => isRefusedConnect(event));
    await sandbox.vmm.qmp.executeAny('migrate', { uri: target }).catch(() => undefined);
    expect(await refused).toMatchObject({ stage: 'sealed', syscall: 'connect', errno: 'EACCES' });
    expect(connections).toBe(before);
    expect(await sandbox.vmm.status()).toMatchObject({ running: true });
    expect((await sandbox.status()).grants).toEqual([]);
  });
});

function isRefusedConnect(event: SandboxEvent): boolean {
  return event.type === 'refusal' && event['door'] === 'vmm' && event['syscall'] === 'connect';
}

describe('where a launch stops', () => {
  test("the user's own -S: tightened, and left paused", async () => {
    await using sandbox = await launchBare(['-S']);
    expect(sandbox.stage).toBe('running');
    expect(await sandbox.vmm.status()).toMatchObject({ status: 'prelaunch', running: false });
    for (const task of readTasks(sandbox.pid)) expect(task.filters).toBeGreaterThanOrEqual(inherited + 2);
  });

  test("until 'start': machine built, paused, one filter; the rest can follow in one step", async () => {
    await using sandbox = await launchBare([], { until: 'start' });
    expect(sandbox.stage).toBe('start');
    expect(await sandbox.vmm.status()).toMatchObject({ status: 'prelaunch' });
    for (const task of readTasks(sandbox.pid)) expect(task).toMatchObject({ mode: 2, filters: inherited + 1 });
    // Two at once: each sees a whole stage, none is entered twice.
    const [first, second] = await Promise.allSettled([sandbox.enter('sealed'), sandbox.enter('running')]);
    expect(first).toMatchObject({ status: 'fulfilled', value: { stage: 'sealed', ok: true } });
    expect(second).toMatchObject({ status: 'rejected', reason: { code: 'STAGE_BACKWARDS' } });
    for (const task of readTasks(sandbox.pid)) expect(task.filters).toBeGreaterThanOrEqual(inherited + 3);
  });

  test("until 'sealed' enters both, and lets the guest run", async () => {
    await using sandbox = await launchBare([], { until: 'sealed' });
    expect(await sandbox.attest()).toMatchObject({ ok: true, stage: 'sealed' });
    expect(await sandbox.vmm.status()).toMatchObject({ running: true });
  });

  test('capabilities are kept only when that was asked for', async () => {
    await using sandbox = await launchBare([], { keepCapabilities: true });
    expect(statusField(sandbox.pid, 'CapEff')).toBe(statusField(process.pid, 'CapEff'));
  });
});
