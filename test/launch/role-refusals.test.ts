// SPDX-License-Identifier: Apache-2.0
// A thread of a real QEMU that was taken over calls what its role may not, under the shipped profile: it is refused, and told of in full.
import { expect, test } from 'vitest';
import type { SandboxEvent } from '../../core/launch/events.ts';
import type { Sandbox } from '../../core/launch/sandbox.ts';
import { constantValue } from '../../core/tables/index.ts';
import { launchBare, nextEvent } from './bare.ts';
import { makeCall } from './make-call.ts';
import { profileWithRoles } from './profile-with-roles.ts';

const atCurrentDirectory = -100;
const unix = constantValue('x86_64', 'AF_UNIX') ?? 0n;
const stream = 1;
const EPERM = 1;
const EACCES = 13;

async function threadIn(sandbox: Sandbox, role: string): Promise<number> {
  const { threads } = await sandbox.status();
  const found = threads.find((thread) => thread.role === role);
  if (found === undefined) throw new Error(`no thread has role ${role}`);
  return found.tid;
}

const of = (syscall: string) => (event: SandboxEvent) => event.type === 'refusal' && event['syscall'] === syscall;

/** Calls in a thread, and waits for what is told of it. */
async function called(sandbox: Sandbox, role: string, syscall: string, args: readonly (number | string)[]) {
  const tid = await threadIn(sandbox, role);
  const [event, result] = await Promise.all([
    nextEvent(sandbox, of(syscall)),
    makeCall({ pid: sandbox.pid, tid }, syscall, args),
  ]);
  return { tid, result, event };
}

test('what a role refuses is told with thread, role, arguments, rule and cure; others may call it', async () => {
  await using sandbox = await launchBare();
  const opened = await called(sandbox, 'vcpu', 'openat', [atCurrentDirectory, '/etc/passwd', 0]);
  expect(opened).toMatchObject({
    result: -EPERM,
    event: {
      stage: 'running',
      tid: opened.tid,
      thread: expect.stringContaining('qemu'),
      role: 'vcpu',
      args: { filename: '/etc/passwd', flags: 'O_RDONLY' },
      errno: 'EPERM',
      rule: null,
      allowedIn: 'start',
      fix: 'stage running, role vcpu: syscalls: [{ allow: [openat], why: "..." }]',
    },
  });
  const made = await called(sandbox, 'vcpu', 'socket', [Number(unix), stream, 0]);
  expect(made).toMatchObject({ result: -EPERM, event: { role: 'vcpu', args: { domain: 'AF_UNIX' } } });

  // What sets connections up is told; what moves data would be too dear for those that may make it, and the kernel alone refuses it.
  const set = await called(sandbox, 'vcpu', 'fcntl', [0, 3, 0]);
  expect(set).toMatchObject({ result: -EPERM, event: { role: 'vcpu', args: { cmd: 'F_GETFL' } } });
  const vcpu = { pid: sandbox.pid, tid: await threadIn(sandbox, 'vcpu') };
  for (const silent of ['recvmsg', 'readv', 'lseek']) expect(await makeCall(vcpu, silent, [0, 0, 0])).toBe(-EPERM);

  const main = { pid: sandbox.pid, tid: sandbox.pid };
  expect(await makeCall(main, 'fcntl', [0, 3, 0])).toBeGreaterThanOrEqual(0);
  expect(await makeCall(main, 'socket', [Number(unix), stream, 0])).toBeGreaterThanOrEqual(0);
  // By the rules of its stage: the broker opens what is granted.
  const byMain = await called(sandbox, 'main', 'openat', [atCurrentDirectory, '/etc/passwd', 0]);
  expect(byMain).toMatchObject({ result: -EACCES, event: { role: 'main', args: { path: '/etc/passwd' } } });
  expect(await sandbox.vmm.status()).toMatchObject({ running: true });
});

test('a role leaves to the broker what its stage allows: the broker decides for its threads, and lets the others pass', async () => {
  const profile = profileWithRoles({ running: { vcpu: ['openat'] } }) as {
    stages: { running: { syscalls: { broker?: string[] }[]; roles: { vcpu: { syscalls?: unknown[] } } } };
  };
  const { running } = profile.stages;
  for (const rule of running.syscalls)
    if (rule.broker?.includes('openat')) Object.assign(rule, { allow: ['openat'], broker: undefined });
  running.roles.vcpu.syscalls = [{ broker: ['openat'], why: 'a test' }];
  await using sandbox = await launchBare([], {
    profile: JSON.parse(JSON.stringify(profile)),
    allow: [{ request: 'open', target: '/dev/zero' }],
  });
  const denied = await called(sandbox, 'vcpu', 'openat', [atCurrentDirectory, '/etc/passwd', 0]);
  expect(denied).toMatchObject({ result: -EACCES, event: { role: 'vcpu', args: { path: '/etc/passwd' } } });
  const tid = await threadIn(sandbox, 'vcpu');
  expect(await makeCall({ pid: sandbox.pid, tid }, 'openat', [atCurrentDirectory, '/dev/zero', 0])).toBeGreaterThan(2);
  // Nobody grants this one: it goes on as it was made.
  const main = { pid: sandbox.pid, tid: sandbox.pid };
  expect(await makeCall(main, 'openat', [atCurrentDirectory, '/etc/passwd', 0])).toBeGreaterThan(2);
  expect(await sandbox.enter('sealed')).toMatchObject({ ok: true });
});

test('a thread that is made while a stage is entered is not taken for one in a role', async () => {
  await using sandbox = await launchBare();
  let storm = true;
  // QEMU waits for ever for an iothread that is refused its own number.
  const creating = (async () => {
    for (let index = 0; storm; index++) {
      await sandbox.vmm.qmp.executeAny('object-add', { 'qom-type': 'iothread', id: `io${index}` });
      await sandbox.vmm.qmp.executeAny('object-del', { id: `io${index}` });
    }
    return 'made';
  })();
  expect(await sandbox.enter('sealed')).toMatchObject({ ok: true, stage: 'sealed' });
  storm = false;
  expect(await creating).toBe('made');
});

test('a broker that follows one that died knows the roles', async () => {
  await using sandbox = await launchBare();
  const replaced = nextEvent(sandbox, ({ type, what }) => type === 'broker' && what === 'replaced');
  process.kill((await sandbox.status()).broker.pid, 'SIGKILL');
  await replaced;
  const made = await called(sandbox, 'vcpu', 'socket', [Number(unix), stream, 0]);
  expect(made).toMatchObject({ result: -EPERM, event: { role: 'vcpu' } });
});

test('in soak a role refuses nothing that it tells of, and gets nothing that its stage would not give', async () => {
  await using sandbox = await launchBare([], { soak: true });
  const { mechanisms } = await sandbox.attest();
  expect(mechanisms).toContainEqual({
    name: 'roles',
    state: 'partial',
    reason: 'soak: vcpu on 1 threads, io on 0 threads',
  });
  const made = await called(sandbox, 'vcpu', 'socket', [Number(unix), stream, 0]);
  expect(made.event).toMatchObject({ role: 'vcpu', soak: 'permitted', errno: 'EPERM' });
  expect(made.result).toBeGreaterThanOrEqual(0);
  // Made all the time, so refused by the role's own program outside of soak.
  const looked = await called(sandbox, 'vcpu', 'lseek', [2, 0, 1]);
  expect(looked.event).toMatchObject({ role: 'vcpu', soak: 'permitted' });
  expect(looked.result).not.toBe(-EPERM);
  const opened = await called(sandbox, 'vcpu', 'openat', [atCurrentDirectory, '/etc/passwd', 0]);
  expect(opened).toMatchObject({ result: -EACCES, event: { role: 'vcpu', soak: 'permitted' } });
});
