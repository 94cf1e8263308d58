// SPDX-License-Identifier: Apache-2.0
// Every way in which a launch fails, and every way in which a running sandbox loses one of its processes.
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { SandboxEvent } from '../../core/launch/events.ts';
import { launch } from '../../core/launch/launch.ts';
import type { LaunchOptions } from '../../core/launch/options.ts';
import { bareArguments } from '../qemu/unsandboxed.ts';
import { launchBare, nextEvent } from './bare.ts';
import { listenOnLoopback } from './loopback.ts';
import { childrenOf, commandLine, fdTable, Pinned, waitFor } from './processes.ts';

const folder = mkdtempSync(join(tmpdir(), 'ratchet-failures-'));
afterAll(() => rmSync(folder, { recursive: true }));

const quiet = ['pipe', 'ignore', 'pipe'] as const;

/** A program that takes any arguments, says nothing, and waits for ever. The start stage of the shipped profile is enough for it. */
const silent = { command: ['/bin/sh', '-c', 'read line'], profile: 'qemu' } as const;

describe('a launch that fails', () => {
  let before: readonly number[];
  let fds: number;
  beforeEach(() => {
    before = childrenOf(process.pid);
    fds = fdTable(process.pid).size;
  });
  // Of each failure: no process and no descriptor is left when it is told.
  afterEach(async () => {
    expect(childrenOf(process.pid)).toEqual(before);
    // Node closes the pipes of children that have ended in its own time.
    await waitFor('the descriptors of the failed launch to be closed', () => fdTable(process.pid).size <= fds);
  });

  const failing = async (options: LaunchOptions): Promise<Error> =>
    await launch({ stdio: quiet, ...options }).then(
      async (sandbox) => {
        await sandbox.kill();
        throw new Error('it was launched');
      },
      (error: Error) => error,
    );

  test('QEMU does not like an argument: its status and its last words', async () => {
    const error = await failing({ command: ['qemu-system-x86_64', ...bareArguments, '-device', 'no-such-device'] });
    expect(error).toMatchObject({
      code: 'VMM_EXITED',
      message: expect.stringMatching(/^qemu-system-x86_64 exited with status 1 .*no-such-device/s),
    });
  });

  test('when stderr is not ours, the error does not say that it was silent', async () => {
    const error = await failing({
      command: ['qemu-system-x86_64', ...bareArguments, '-cpu', 'help-me'],
      stdio: ['ignore', 'ignore', 'ignore'],
    });
    expect(error.message).toMatch(/exited with status 1 .*what it said is on its stderr/);
  });

  test('there is no such program', async () => {
    expect(await failing({ command: ['qemu-system-pdp11'] })).toMatchObject({
      code: 'VMM_NOT_FOUND',
      message: expect.stringMatching(/qemu-system-pdp11 in PATH.*apt-get install/),
    });
    expect(await failing({ command: ['/nowhere/qemu-system-x86_64'] })).toMatchObject({ code: 'VMM_NOT_FOUND' });
  });

  test('the program is a script: the step that failed, and the cure', async () => {
    const script = join(folder, 'qemu-system-script');
    writeFileSync(script, '#!/bin/sh\nexec qemu-system-x86_64 "$@"\n');
    chmodSync(script, 0o755);
    expect(await failing({ command: [script] })).toMatchObject({
      code: 'STAGER_FAILED',
      message: expect.stringMatching(/step exec \(E\w+\) - .*not a script/),
    });
  });

  test('the program is for no machine at all', async () => {
    const garbage = join(folder, 'qemu-system-garbage');
    writeFileSync(garbage, 'not a program');
    chmodSync(garbage, 0o755);
    expect(await failing({ command: [garbage] })).toMatchObject({
      code: 'STAGER_FAILED',
      errno: 'ENOEXEC',
      message: expect.stringContaining('step exec'),
    });
  });

  test('the program never answers its monitor: the deadline', async () => {
    const started = performance.now();
    const error = await failing({
      ...silent,
      deadlineMs: 1000,
    });
    expect(error).toMatchObject({ code: 'QMP_TIMEOUT', message: expect.stringContaining('1000 ms') });
    expect(performance.now() - started).toBeLessThan(10_000);
  });

  test('the launch is given up: the reason comes back', async () => {
    const stop = new AbortController();
    const launching = failing({
      ...silent,
      signal: stop.signal,
    });
    await waitFor('the shell', () => childrenOf(process.pid).some((pid) => commandLine(pid).startsWith('/bin/sh -c')));
    stop.abort(new Error('changed my mind'));
    expect((await launching).message).toBe('changed my mind');
    expect((await failing({ command: ['qemu-system-x86_64'], signal: stop.signal })).message).toBe('changed my mind');
  });

  test('the filter kills it: said in words, not as a number', async () => {
    const profile = {
      version: 1,
      name: 'exec-only',
      vmm: 'qemu',
      stages: {
        start: {
          why: 'a test',
          default: 'kill-process',
          syscalls: [
            { allow: ['execveat'], when: 'dirfd == RATCHET_EXEC_FD and flags == AT_EMPTY_PATH', why: 'the stager' },
            { allow: ['sendmsg'], when: 'flags lacks MSG_FASTOPEN', risk: 'a test', why: 'the stager reports' },
            { allow: ['close', 'exit_group'], why: 'the stager' },
          ],
        },
      },
    };
    const error = await failing({ command: ['/bin/true'], profile, until: 'start' });
    expect(error).toMatchObject({
      code: 'VMM_EXITED',
      message: expect.stringMatching(/killed by its seccomp filter \(SIGSYS\)/),
    });
  });

  test('a limit or a descriptor that cannot be had', async () => {
    const command = ['qemu-system-x86_64', ...bareArguments] as const;
    expect(await failing({ command, rlimits: { nonsense: 1 } })).toMatchObject({ code: 'STAGER_FAILED' });
    expect(await failing({ command, inherit: new Map([[5, 987]]) })).toMatchObject({ code: 'STAGER_FAILED' });
  });

  test('a stage, a profile, a grant or an argument that is wrong: before anything is started', async () => {
    const command = ['qemu-system-x86_64', ...bareArguments] as const;
    const wrong: readonly [Partial<LaunchOptions>, string][] = [
      [{ until: 'runing' }, 'STAGE_UNKNOWN'],
      [{ profile: 'qmeu' }, 'PROFILE_NOT_FOUND'],
      [{ features: ['no-such-feature'] }, 'PROFILE_INVALID'],
      [{ allow: [{ request: 'connect', target: 'tcp:nowhere' }] }, 'ADDRESS_INVALID'],
      [{ command: [...command, '-daemonize'] }, 'VMM_ARGUMENT_CONFLICT'],
      [{ command: ['/bin/true'] }, 'PROFILE_NOT_FOUND'],
    ];
    for (const [options, code] of wrong) expect(await failing({ command, ...options })).toMatchObject({ code });
  });
});

describe('a running sandbox', () => {
  test('whose broker is killed and not replaced goes on, and brokered calls fail at once, told to all', async () => {
    await using server = await listenOnLoopback();
    await using sandbox = await launchBare([], {
      allow: [{ request: 'connect', target: server.address }],
      brokerRestarts: 0,
    });
    const { broker } = await sandbox.status();
    const ended = nextEvent(sandbox, (event) => event.type === 'broker' && event['what'] === 'ended');
    process.kill(broker.pid, 'SIGKILL');
    expect(await ended).toMatchObject({ pid: broker.pid, next: expect.stringContaining('ENOSYS') });

    expect(await sandbox.vmm.status()).toMatchObject({ running: true });
    expect(await sandbox.status()).toMatchObject({
      stage: 'running',
      broker: { pid: broker.pid, alive: false, denied: broker.denied },
      grants: [],
    });
    await expect(sandbox.connect(server.address)).rejects.toMatchObject({
      code: 'BROKER_DIED',
      message: expect.stringContaining('start a new VM'),
    });
    const started = performance.now();
    await sandbox.vmm.qmp.executeAny('migrate', { uri: server.address });
    const failed = await waitFor('the migration to fail', async () => {
      const answer = (await sandbox.vmm.qmp.executeAny('query-migrate')) as Record<string, string>;
      return answer['status'] === 'failed' && answer;
    });
    expect(failed['error-desc']).toContain('Function not implemented');
    expect(performance.now() - started).toBeLessThan(2000);
    expect(server.connections()).toBe(0);
    // It can still be tightened: a broker that is gone grants nothing, in any stage.
    expect(await sandbox.enter('sealed')).toMatchObject({ ok: true, stage: 'sealed' });
    expect(await sandbox.vmm.status()).toMatchObject({ running: true });
  });

  test('whose broker hangs ends all the same', async () => {
    const sandbox = await launchBare();
    const { broker } = await sandbox.status();
    const pinned = new Pinned(broker.pid);
    process.kill(broker.pid, 'SIGSTOP');
    await sandbox.close();
    await pinned.end();
  });

  test('whose VMM is killed tells so last, and ends its broker', async () => {
    const sandbox = await launchBare();
    const { broker } = await sandbox.status();
    const brokerEnd = new Pinned(broker.pid);
    const events: SandboxEvent[] = [];
    const reading = (async () => {
      for await (const event of sandbox.events) events.push(event);
    })();
    process.kill(sandbox.pid, 'SIGKILL');
    expect(await sandbox.exited).toEqual({ code: null, signal: 'SIGKILL' });
    await brokerEnd.end();
    await reading;
    expect(events.at(-1)).toMatchObject({
      type: 'exit',
      pid: sandbox.pid,
      signal: 'SIGKILL',
      words: 'qemu-system-x86_64 was ended by SIGKILL',
    });
    // Its pid may be another process's by now: nothing here looks at it any more.
    await expect(sandbox.enter('sealed')).rejects.toMatchObject({ code: 'VMM_EXITED' });
    expect(await sandbox.attest()).toMatchObject({ ok: false, threads: [] });
    expect(await sandbox.status()).toMatchObject({ threads: [], broker: { alive: false } });
    await sandbox.kill();
    await sandbox.close();
    await sandbox.close();
  });

  test('whose VMM is killed by its filter reports a violation', async () => {
    const sandbox = await launchBare();
    const violation = nextEvent(sandbox, (event) => event.type === 'violation');
    // As the kernel does it for kill-process.
    process.kill(sandbox.pid, 'SIGSYS');
    expect(await violation).toMatchObject({ stage: 'running', words: expect.stringContaining('SIGSYS') });
    expect(await sandbox.exited).toMatchObject({ signal: 'SIGSYS' });
    await sandbox.close();
  });

  test('whose VMM ends while a stage is entered says that it ended', async () => {
    const sandbox = await launchBare();
    const entering = sandbox.enter('sealed');
    process.kill(sandbox.pid, 'SIGKILL');
    const outcome = await entering.then(
      (report) => report.ok,
      (error: { code: string }) => error.code,
    );
    // Killed before, during or after: never a stage that counts as entered with threads that are not as they should be.
    expect([true, false, 'VMM_EXITED', 'INJECTION_FAILED', 'VERIFICATION_FAILED']).toContain(outcome);
    await sandbox.close();
  });

  test('whose VMM does not listen to quit is killed', async () => {
    const sandbox = await launchBare();
    const pinned = new Pinned(sandbox.pid);
    process.kill(sandbox.pid, 'SIGSTOP');
    await sandbox.close();
    await pinned.end();
    expect(await sandbox.exited).toMatchObject({ signal: 'SIGKILL' });
  });
});
