// SPDX-License-Identifier: Apache-2.0
// `ratchet run` as a process: its status, what it prints, and what it leaves behind in every way of ending.
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { controlEvents, controlRequest } from '../../core/control/client.ts';
import type { EnforcementReport } from '../../core/launch/report.ts';
import type { SandboxStatus } from '../../core/launch/sandbox-status.ts';
import { childrenOf, commandLine, Pinned, waitFor } from '../launch/processes.ts';
import { bareVmm, ratchet, type Started, startRatchet } from './ratchet.ts';

const folder = mkdtempSync(join(tmpdir(), 'ratchet-run-'));
afterAll(() => rmSync(folder, { recursive: true }));

let number = 0;
const socketPath = (): string => join(folder, `vm${++number}.ctl`);

interface Running {
  readonly run: Started;
  readonly control: string;
  readonly status: SandboxStatus;
  readonly vmm: Pinned;
  readonly broker: Pinned;
}

/** A VM that runs, told by its control socket. */
async function running(options: readonly string[] = [], wrapper: readonly string[] = []): Promise<Running> {
  const control = socketPath();
  const run = startRatchet(['run', '--control', control, ...options, ...bareVmm], wrapper, { detached: true });
  await waitFor('the control socket', () => {
    if (run.child.exitCode !== null) throw new Error(`run ended: ${run.stderr()}`);
    return existsSync(control);
  });
  // Asked before the VM is there, answered when it is.
  const status = (await controlRequest(control, 'status')) as SandboxStatus;
  return { run, control, status, vmm: new Pinned(status.pid), broker: new Pinned(status.broker.pid) };
}

async function everythingIsGone({ vmm, broker, control }: Running): Promise<void> {
  await vmm.end();
  await broker.end();
  expect(existsSync(control)).toBe(false);
}

describe('the status of run', () => {
  test("is the VMM's own", async () => {
    const vm = await running();
    await controlRequest(vm.control, 'quit');
    expect(await vm.run.ended).toMatchObject({ status: 0, stderr: '' });
    await everythingIsGone(vm);
    const bad = ratchet('run', '--', 'qemu-system-x86_64', '-version');
    // QEMU prints and ends before there is a machine: a launch that failed.
    expect(bad).toMatchObject({ status: 125, stdout: expect.stringContaining('QEMU emulator version') });
  });

  test('is 128 + the signal when one ended the VMM, in words on stderr when the filter did', async () => {
    for (const [signal, status, words] of [
      ['SIGKILL', 137, /^$/],
      ['SIGSYS', 159, /^ratchet: qemu-system-x86_64 was killed by its seccomp filter \(SIGSYS\)/],
    ] as const) {
      const vm = await running();
      process.kill(vm.status.pid, signal);
      const ended = await vm.run.ended;
      expect(ended.status).toBe(status);
      expect(ended.stderr).toMatch(words);
      await everythingIsGone(vm);
    }
  });

  test('is 125 when ratchet failed, with one line that has the cure', async () => {
    const bad = ratchet('run', ...bareVmm, '-device', 'no-such-device');
    expect(bad).toMatchObject({ status: 125, stderr: expect.stringMatching(/no-such-device.*ratchet: .*status 1/s) });
    expect(ratchet('run', '--', 'no-such-vmm')).toMatchObject({
      status: 125,
      stderr: expect.stringMatching(/^ratchet: .*no-such-vmm in PATH.*\n$/),
    });
  });

  test('a hard limit on open files that is too low names the step and the cure', async () => {
    const limited = startRatchet(['run', ...bareVmm], ['prlimit', '--nofile=4096:4096', '--']);
    const ended = await limited.ended;
    // Root may raise it again, unless it has lost the right to.
    if (ended.status !== 125) throw new Error(`it ran: ${JSON.stringify(ended)}`);
    expect(ended.stderr).toMatch(/step exec-fd \(E\w+\) - raise the hard limit.*LimitNOFILE/);
  });

  test('no room for signals, by which the broker confines its threads, names the step, the errno and the cure', async () => {
    const { status, stderr } = await startRatchet(['run', ...bareVmm], ['prlimit', '--sigpending=0:0', '--']).ended;
    expect(status).toBe(125);
    expect(stderr).toMatch(
      /^ratchet: the broker could not confine itself: step capabilities: tgkill failed \(EAGAIN\) - .*SigQ in \/proc\/self\/status/,
    );
    expect(stderr).not.toContain('npm run build');
  });

  test.each([
    ['--', /there is nothing to run - give a VMM after --/],
    ['--allow connect BARE', /--allow connect is not a grant - write connect=ADDR/],
    ['--allow connect=tcp:127.0.0.1:http BARE', /tcp:127.0.0.1:http/],
    ['--allow spawn=/bin/sh BARE', /is not a grant/],
    ['--profile qmeu BARE', /qmeu.*qemu/],
    ['--profile /nowhere/at.all BARE', /\/nowhere\/at\.all/],
    ['--until runing BARE', /no stage runing - it has start, running, sealed/],
    ['--feature nonsense BARE', /nonsense/],
    ['--report /nowhere/report.json BARE', /report.*ENOENT/],
    ['--contrl /tmp/x BARE', /unknown option '--contrl'/],
    ['BARE -daemonize', /-daemonize does not go together with ratchet - leave it out/],
    ['BARE -sandbox on', /-sandbox on/],
    ['-- /bin/true', /no shipped profile for true - name one with --profile/],
  ])('is 2 for misuse: run %s', (text, words) => {
    const { status, stderr, stdout } = ratchet(
      'run',
      ...text.split(' ').flatMap((word) => (word === 'BARE' ? bareVmm : [word])),
    );
    expect(stderr).toMatch(words);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).not.toContain('bug in ratchet');
  });
});

describe('what run leaves behind', () => {
  test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('nothing after %s', async (signal) => {
    const vm = await running();
    process.kill(vm.run.pid, signal);
    expect(await vm.run.ended).toMatchObject({ status: 0 });
    await everythingIsGone(vm);
  });

  test('nothing after Ctrl-C, which goes to the whole process group', async () => {
    const vm = await running();
    process.kill(-vm.run.pid, 'SIGINT');
    expect(await vm.run.ended).toMatchObject({ status: 0 });
    await everythingIsGone(vm);
  });

  test('nothing after a signal while the VM is still built', async () => {
    const control = socketPath();
    const run = startRatchet(
      ['run', '--profile', 'qemu', '--control', control, '--', '/bin/sh', '-c', 'read x <&1'],
      [],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    const children = await waitFor('broker and VMM', () => {
      const pids = childrenOf(run.pid);
      return pids.length === 2 && pids.some((pid) => commandLine(pid).startsWith('/bin/sh')) && pids;
    });
    const pinned = children.map((pid) => new Pinned(pid));
    process.kill(run.pid, 'SIGTERM');
    expect(await run.ended).toMatchObject({ status: 143 });
    for (const child of pinned) await child.end();
    expect(existsSync(control)).toBe(false);
  });

  test('nothing when it is killed: no VMM, broker, tap device or socket file', async () => {
    const listening = join(folder, 'incoming.sock');
    const vm = await running(
      ['--allow', `bind=unix:${listening}`, '--allow', 'tap=ratchet%d'],
      ['unshare', '--net', '--'],
    );
    await controlRequest(vm.control, 'nic-add', { id: 'nic1', tap: 'ratchet%d' });
    const devices = (): string => readFileSync(`/proc/${vm.run.pid}/net/dev`, 'utf8');
    expect(devices()).toContain('ratchet0');
    process.kill(vm.run.pid, 'SIGKILL');
    await vm.run.ended;
    await vm.vmm.end();
    await vm.broker.end();
    // The tap device ended with its last descriptor, and the namespace with its last process.
    expect(existsSync(vm.control)).toBe(false);
    expect(existsSync(listening)).toBe(false);
  });

  test('nothing when it is killed with a migration coming in: the file of the listening socket is removed', async () => {
    const listening = join(folder, 'incoming2.sock');
    const control = socketPath();
    const run = startRatchet([
      'run',
      '--control',
      control,
      '--allow',
      `bind=unix:${listening}`,
      ...bareVmm,
      '-incoming',
      'defer',
    ]);
    await waitFor('the control socket', () => existsSync(control));
    await controlRequest(control, 'accept', { address: `unix:${listening}` });
    expect(existsSync(listening)).toBe(true);
    const { pid, broker } = (await controlRequest(control, 'status')) as SandboxStatus;
    const pinned = [new Pinned(pid), new Pinned(broker.pid)];
    process.kill(run.pid, 'SIGKILL');
    await run.ended;
    for (const process of pinned) await process.end();
    expect(existsSync(listening)).toBe(false);
    expect(existsSync(control)).toBe(false);
  });
});

describe('the control socket of run', () => {
  test('is for its owner alone, and belongs to one VM', async () => {
    const vm = await running();
    expect(statSync(vm.control).mode & 0o7777).toBe(0o600);
    const second = ratchet('run', '--control', vm.control, ...bareVmm);
    expect(second).toMatchObject({
      status: 125,
      stderr: expect.stringMatching(
        /^ratchet: the control socket .* could not be bound \(EADDRINUSE\) - another VM uses it/,
      ),
    });
    // The second one's end has not taken the first one's socket away.
    expect(await controlRequest(vm.control, 'status')).toMatchObject({ pid: vm.status.pid });
    await controlRequest(vm.control, 'quit');
    await vm.run.ended;
    await everythingIsGone(vm);
  });

  test('that cannot be bound is told before a VM is started', () => {
    expect(ratchet('run', '--control', '/nowhere/vm.ctl', ...bareVmm)).toMatchObject({
      status: 125,
      stderr: expect.stringMatching(/\/nowhere\/vm\.ctl could not be bound.*--control/),
    });
  });
});

describe('a launcher with fewer rights', () => {
  test('enforces the same, and says what it cannot prove', async () => {
    // Root without the one capability that PTRACE_SECCOMP_GET_FILTER asks for.
    const vm = await running([], ['setpriv', '--bounding-set', '-sys_admin', '--inh-caps', '-sys_admin', '--']);
    const report = (await controlRequest(vm.control, 'attest')) as EnforcementReport;
    expect(report).toMatchObject({ ok: true, stage: 'running' });
    expect(report.mechanisms.find(({ name }) => name === 'program-read-back')).toMatchObject({
      state: 'absent',
      reason: expect.stringContaining('CAP_SYS_ADMIN'),
    });
    expect(await controlRequest(vm.control, 'stage', { name: 'sealed' })).toMatchObject({ ok: true, stage: 'sealed' });
    await controlRequest(vm.control, 'quit');
    expect(await vm.run.ended).toMatchObject({ status: 0 });
    await everythingIsGone(vm);
  });
});

describe('what run says', () => {
  test('refusals as they happen, one line each', async () => {
    const vm = await running();
    await expect(controlRequest(vm.control, 'migrate', { address: 'tcp:127.0.0.1:9' })).rejects.toThrow();
    await waitFor('the line', () => /refused: connect\(.*\n/.test(vm.run.stderr()));
    expect(vm.run.stderr()).toMatch(
      /^ratchet: refused: connect\(.*127\.0\.0\.1:9.*\) = -EACCES for the launcher.*to permit: .*\n/,
    );
    await controlRequest(vm.control, 'quit');
    await vm.run.ended;
  });

  test('the death of the broker', async () => {
    const vm = await running();
    process.kill(vm.status.broker.pid, 'SIGKILL');
    await waitFor('the line', () => vm.run.stderr().includes('the broker (pid'));
    const { broker } = (await controlRequest(vm.control, 'status')) as SandboxStatus;
    expect(broker.alive).toBe(true);
    expect(broker.pid).not.toBe(vm.status.broker.pid);
    expect(vm.run.stderr()).toContain(`was replaced by pid ${broker.pid}`);
    await controlRequest(vm.control, 'quit');
    expect(await vm.run.ended).toMatchObject({ status: 0 });
    expect(existsSync(vm.control)).toBe(false);
  });

  test('the report follows the stages', async () => {
    const file = join(folder, 'report.json');
    const vm = await running(['--report', file]);
    const read = (): EnforcementReport => JSON.parse(readFileSync(file, 'utf8')) as EnforcementReport;
    await waitFor('the first report', () => statSync(file).size > 0);
    expect(read()).toMatchObject({ pid: vm.status.pid, stage: 'running', ok: true });
    await controlRequest(vm.control, 'stage', { name: 'sealed' });
    await waitFor('the second report', () => read().stage === 'sealed');
    expect(read()).toMatchObject({
      ok: true,
      mechanisms: expect.arrayContaining([{ name: 'seccomp', state: 'enforced', reason: expect.any(String) }]),
    });
    expect(read().threads[0]).toMatchObject({
      tid: expect.any(Number),
      name: expect.any(String),
      role: expect.any(String),
      mode: 2,
      filters: expect.any(Number),
      programs: expect.any(Array),
    });
    await controlRequest(vm.control, 'quit');
    await vm.run.ended;
  });

  test('events, the last one being the exit', async () => {
    const vm = await running();
    const events: { type: string }[] = [];
    const reading = (async () => {
      for await (const line of controlEvents(vm.control)) events.push(JSON.parse(line) as { type: string });
    })();
    // Answered in order of connection: the reader above has its place by then.
    await controlRequest(vm.control, 'stage', { name: 'sealed' });
    process.kill(vm.status.pid, 'SIGKILL');
    await reading;
    expect(events.some(({ type }) => type === 'stage')).toBe(true);
    expect(events.at(-1)).toMatchObject({
      type: 'exit',
      signal: 'SIGKILL',
      time: expect.stringMatching(/^\d{4}-.*Z$/),
    });
    expect(await vm.run.ended).toMatchObject({ status: 137 });
  });
});
