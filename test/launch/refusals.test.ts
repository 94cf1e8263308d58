// SPDX-License-Identifier: Apache-2.0
// Refusals of a real QEMU and of a small program, told in full; soak; the end of patience; a kill in words.
import { writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { EventStream, type SandboxEvent } from '../../core/launch/events.ts';
import { launchVmm } from '../../core/launch/launch.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import { native } from '../../native/index.ts';
import { scratch } from '../brokers/rig.ts';
import { buildProgram } from '../native/build-program.ts';
import { launchBare, nextEvent } from './bare.ts';
import { waitFor } from './processes.ts';

const aioArguments = (folder: string): readonly string[] => {
  const image = join(folder, 'disk.img');
  writeFileSync(image, Buffer.alloc(64 * 1024));
  return ['-drive', `file=${image},format=raw,if=none,aio=native,cache.direct=on`];
};

/** Everything that is told from the first moment on. */
function recording(): { readonly events: EventStream; readonly all: () => Promise<readonly SandboxEvent[]> } {
  const events = new EventStream();
  const read = (async () => {
    const told: SandboxEvent[] = [];
    for await (const event of events) told.push(event);
    return told;
  })();
  return { events, all: () => read };
}

const isAio = (event: SandboxEvent): boolean => event['syscall'] === 'io_setup';

test('an operation without its feature: the event says everything, and the launch fails', async () => {
  using folder = scratch();
  const { events, all } = recording();
  await expect(launchBare(aioArguments(folder.path), { events })).rejects.toMatchObject({ code: 'VMM_EXITED' });
  expect((await all()).find(isAio)).toEqual({
    time: expect.any(String),
    type: 'refusal',
    stage: 'start',
    door: 'vmm',
    tid: expect.any(Number),
    thread: expect.stringContaining('qemu'),
    role: 'main',
    syscall: 'io_setup',
    args: { nr_reqs: expect.any(Number), ctx: expect.any(String) },
    errno: 'EPERM',
    rule: null,
    fix: 'stage start: syscalls: [{ allow: [io_setup], why: "..." }]',
    allowedIn: null,
    features: ['aio-native'],
  });
});

test('in soak the same works, is reported, and the report does not claim to enforce', async () => {
  using folder = scratch();
  const { events, all } = recording();
  const sandbox = await launchBare(aioArguments(folder.path), { events, soak: true });
  const report = await sandbox.attest();
  expect(report).toMatchObject({ ok: false, stage: 'running' });
  expect(report.mechanisms).toContainEqual({
    name: 'seccomp',
    state: 'partial',
    reason: expect.stringMatching(/^soak: /),
  });
  await sandbox.close();
  expect((await all()).find(isAio)).toMatchObject({ soak: 'permitted', errno: 'EPERM', features: ['aio-native'] });
});

test('the VMM is killed at the refusal that is one too many, and it is said why', async () => {
  using folder = scratch();
  const { events, all } = recording();
  await expect(launchBare(aioArguments(folder.path), { events, maxRefusals: 1 })).rejects.toMatchObject({
    code: 'VMM_EXITED',
    message: expect.stringContaining('SIGKILL'),
  });
  expect((await all()).find(({ type }) => type === 'violation')).toMatchObject({
    stage: 'start',
    words: 'the VMM was refused 1 calls and is killed: --max-refusals 1',
  });
});

const profile = `
version: 1
name: caller
vmm: program
stages:
  start:
    default: allow
    foreign: kill-process
    risk: a test
    syscalls: []
  running:
    default: allow
    foreign: kill-process
    risk: a test
    syscalls:
      - { refuse: [unlink], errno: EROFS, why: files stay }
      - { refuse: [mmap], when: prot has PROT_EXEC, errno: EACCES, why: no new code }
      - { kill-process: [ptrace], why: nobody traces }
`;

test('what start permits and running refuses is told with its arguments, rule and cure; a kill with its call', async () => {
  using folder = scratch();
  const file = join(folder.path, 'caller.yaml');
  writeFileSync(file, profile);
  const { events, all } = recording();
  const [a, b] = native.socketPair({ type: 'stream' });
  using ours = new OwnedFd(a);
  using theirs = new OwnedFd(b);
  await using sandbox = await launchVmm({
    command: [buildProgram('caller')],
    profile: file,
    events,
    inherit: new Map([[5, theirs.fd]]),
    stdio: ['ignore', 'ignore', 'ignore'],
  });
  // A program has no barrier of its own: while libraries are mapped, the later stage would refuse them.
  writeSync(ours.fd, 'x');
  await waitFor('its answer', () => native.receiveMessage({ fd: ours.fd, maxBytes: 1, maxFds: 0 }).kind === 'message');
  await sandbox.enter('running');
  const common = {
    type: 'refusal',
    stage: 'running',
    role: 'main',
    thread: 'caller',
    tid: sandbox.pid,
    allowedIn: 'start',
  };
  const unlinked = nextEvent(sandbox, (event) => event['syscall'] === 'unlink');
  writeSync(ours.fd, 'u');
  expect(await unlinked).toMatchObject({
    ...common,
    args: { pathname: '/no/such/file' },
    errno: 'EROFS',
    rule: { file, line: 16, why: 'files stay' },
    fix: `stage running: in place of the rule at ${file}:16:9: syscalls: [{ allow: [unlink], why: "..." }]`,
    features: [],
  });
  const mapped = nextEvent(sandbox, (event) => event['syscall'] === 'mmap');
  writeSync(ours.fd, 'm');
  expect(await mapped).toMatchObject({
    ...common,
    args: { length: 4096, prot: 'PROT_EXEC|PROT_READ', flags: 'MAP_ANONYMOUS|MAP_PRIVATE', fd: -1 },
    errno: 'EACCES',
    rule: { file, line: 17 },
    fix: expect.stringContaining('allow: [mmap], when: "prot == PROT_EXEC|PROT_READ"'),
  });
  const { mechanisms } = await sandbox.attest();
  writeSync(ours.fd, 'k');
  expect(await sandbox.exited).toMatchObject({ signal: 'SIGSYS' });
  const violation = (await all()).find(({ type }) => type === 'violation');
  const recorded = mechanisms.find(({ name }) => name === 'audit-records')?.state === 'enforced';
  expect(violation).toMatchObject({ stage: 'running', what: 'killed-by-filter' });
  // Without the right to read audit records, the rules that kill are told instead.
  if (recorded) expect(violation).toMatchObject({ syscall: 'ptrace', thread: 'caller', rule: { file, line: 18 } });
  expect(violation?.['words']).toMatch(recorded ? /ptrace in thread caller.*nobody traces/ : /these kill: ptrace/);
});
