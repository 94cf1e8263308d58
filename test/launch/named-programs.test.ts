// SPDX-License-Identifier: Apache-2.0
// Programs that the broker has run for a VM, by name: what they are, and what is refused.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  renameSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { Sandbox } from '../../core/launch/sandbox.ts';
import { scratch } from '../brokers/rig.ts';
import { buildProgram } from '../native/build-program.ts';
import { launchBare, nextEvent } from './bare.ts';
import { launchWith } from './programs-profile.ts';

const pack = { path: '/usr/bin/gzip', args: ['-1', '-c'] };
const unpack = { path: '/usr/bin/gzip', args: ['-d', '-c'] };
const cat = { path: '/bin/cat', stdio: 'socket', 'at-once': 2 };
const refused = { code: 'REQUEST_REFUSED', errno: 'EACCES' };

describe('a named program', () => {
  test('has its own confinement, its streams, no arguments but its own, and is told of when it begins and ends', async () => {
    await using vm = await launchWith({ cat });
    const ended = nextEvent(vm, (event) => event.type === 'program' && event['what'] === 'ended');
    const { pid, socket, exited, ...rest } = await vm.exec('cat');
    expect(rest).toMatchObject({ stdin: undefined, stdout: undefined });
    if (socket === undefined) throw new Error('no socket');
    writeSync(socket.fd, 'hello');
    const heard = Buffer.alloc(5);
    readSync(socket.fd, heard);
    expect(heard.toString()).toBe('hello');
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
      expect(status).toMatch(new RegExp(`^${set}:\\t0{16}$`, 'm'));
    expect(status).toMatch(/^NoNewPrivs:\t1$/m);
    expect(status).toMatch(new RegExp(`^Seccomp_filters:\\t${vm.inheritedFilters + 1}$`, 'm'));
    for (const kind of ['net', 'ipc', 'uts', 'cgroup', 'mnt'])
      expect(readlinkSync(`/proc/${pid}/ns/${kind}`)).not.toBe(readlinkSync(`/proc/self/ns/${kind}`));
    expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).toBe('/bin/cat\0');
    expect(readFileSync(`/proc/${pid}/environ`, 'utf8')).toBe('');
    expect(readdirSync(`/proc/${pid}/fd`)).toEqual(['0', '1', '2']);
    expect((await vm.status()).programs).toEqual([{ program: 'cat', pid, number: 1 }]);
    socket.close();
    expect(await exited).toEqual({ code: 0, signal: null });
    expect(await ended).toMatchObject({ program: 'cat', pid, code: 0, signal: null });
    expect((await vm.status()).programs).toEqual([]);
  });

  test('packs the state of a VM into a granted file, and another VM unpacks it and goes on: what `migrate exec:` is for', async () => {
    using folder = scratch();
    const file = `${folder.path}/vm.gz`;
    const allow = [{ request: 'open', target: file }] as const;
    await using here = await launchWith({ pack }, { allow });
    await using there = await launchWith({ unpack }, { allow, args: ['-incoming', 'defer'] });
    await using packing = await here.exec('pack', { output: file });
    if (packing.stdin === undefined) throw new Error('no stdin');
    const { transferredBytes = 0 } = await here.vmm.migrateInto(packing.stdin);
    packing.stdin.close();
    expect(await packing.exited).toEqual({ code: 0, signal: null });
    expect(statSync(file).size).toBeLessThan(transferredBytes);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(execFileSync('gzip', ['-t', file]).toString()).toBe('');
    await using unpacking = await there.exec('unpack', { input: file });
    if (unpacking.stdout === undefined) throw new Error('no stdout');
    await there.vmm.migrateFrom(unpacking.stdout);
    expect(await there.vmm.status()).toMatchObject({ status: 'running' });
  });

  test('whose words and status are of interest has them in the event of its end', async () => {
    await using vm = await launchWith({ unpack });
    const ended = nextEvent(vm, (event) => event.type === 'program' && event['what'] === 'ended');
    await using running = await vm.exec('unpack');
    if (running.stdin === undefined) throw new Error('no stdin');
    writeSync(running.stdin.fd, 'nonsense');
    running.stdin.close();
    expect(await running.exited).toEqual({ code: 1, signal: null });
    expect(await ended).toMatchObject({ code: 1, words: expect.stringMatching(/not in gzip format/) });
  });

  test('reads and writes granted files in place of its streams, and no others', async () => {
    using folder = scratch();
    writeFileSync(`${folder.path}/in`, 'content');
    const allow = [
      { request: 'open', target: `${folder.path}/in:ro` },
      { request: 'open', target: `${folder.path}/out` },
    ] as const;
    await using vm = await launchWith({ copy: { path: '/bin/cat' }, cat }, { allow });
    const [input, output] = [`${folder.path}/in`, `${folder.path}/out`];
    const copy = await vm.exec('copy', { input, output });
    expect(copy).toMatchObject({ stdin: undefined, stdout: undefined });
    await copy.exited;
    expect(readFileSync(output, 'utf8')).toBe('content');
    await expect(vm.exec('copy', { input: '/etc/shadow' })).rejects.toMatchObject(refused);
    await expect(vm.exec('copy', { output: input })).rejects.toMatchObject(refused);
    await expect(vm.exec('copy', { input: `${folder.path}/../in` })).rejects.toMatchObject({ errno: 'EINVAL' });
    symlinkSync('/etc/shadow', `${folder.path}/link`);
    unlinkSync(output);
    renameSync(`${folder.path}/link`, output);
    await expect(vm.exec('copy', { output })).rejects.toMatchObject({ errno: 'ELOOP' });
    await expect(vm.exec('cat', { input })).rejects.toMatchObject({ errno: 'EINVAL' });
    expect((await vm.status()).programs).toEqual([]);
  });
});

describe('is refused', () => {
  test('by a name that no rule grants, in a stage that grants none, and when as many run as may', async () => {
    await using vm = await launchWith({ cat, pack }, { granted: ['cat'] });
    await expect(vm.exec('pack')).rejects.toMatchObject(refused);
    await expect(vm.exec('nobody-knows')).rejects.toMatchObject(refused);
    await using one = await vm.exec('cat');
    await using other = await vm.exec('cat');
    await expect(vm.exec('cat')).rejects.toMatchObject({ code: 'BROKER_TIMEOUT', errno: 'EBUSY' });
    const refusal = nextEvent(vm, (event) => event.type === 'refusal' && event['stage'] === 'sealed');
    await vm.enter('sealed');
    await expect(vm.exec('cat')).rejects.toMatchObject(refused);
    expect(await refusal).toMatchObject({ stage: 'sealed', args: { program: 'cat' }, allowedIn: 'running' });
    expect(await Promise.all([one.exited, other.exited])).toEqual([killed, killed]);
  });

  test('when it cannot be told apart from the file that it was at launch, whatever was done to it', async () => {
    using folder = scratch();
    const path = `${folder.path}/program`;
    const put = (): void => {
      copyFileSync('/bin/cat', path);
      chmodSync(path, 0o755);
    };
    const changes: readonly (readonly [name: string, errno: string, change: () => void])[] = [
      ['moved away', 'ENOENT', () => renameSync(path, `${folder.path}/old`)],
      ['a link to it', 'ESTALE', () => symlinkSync(`${folder.path}/old`, path)],
      ['another of the same content', 'ESTALE', () => [unlinkSync(path), put()]],
      ['a folder', 'ESTALE', () => [unlinkSync(path), mkdirSync(path)]],
    ];
    put();
    await using vm = await launchWith({ moved: { path } });
    await (await vm.exec('moved'))[Symbol.asyncDispose]();
    for (const [name, errno, change] of changes) {
      change();
      await expect(vm.exec('moved'), name).rejects.toMatchObject({ code: 'REQUEST_FAILED', errno });
    }
    expect((await vm.status()).programs).toEqual([]);
  });

  test('when it was written to in place', async () => {
    using folder = scratch();
    const path = `${folder.path}/program`;
    copyFileSync('/bin/cat', path);
    chmodSync(path, 0o755);
    const output = `${folder.path}/output`;
    writeFileSync(output, 'what was kept so far');
    await using vm = await launchWith({ written: { path } }, { allow: [{ request: 'open', target: output }] });
    await using before = await vm.exec('written', { output });
    before.stdin?.close();
    expect(await before.exited).toEqual({ code: 0, signal: null });
    expect(readFileSync(output, 'utf8')).toBe('');
    writeFileSync(output, 'what was kept since');
    copyFileSync('/usr/bin/gzip', path);
    await expect(vm.exec('written', { output })).rejects.toMatchObject({ errno: 'ESTALE' });
    expect(readFileSync(output, 'utf8')).toBe('what was kept since');
  });

  test.each([
    ['that is missing', 'VMM_NOT_FOUND', { path: '/nowhere/gzip' }, undefined],
    ['that everybody may write to', 'PROFILE_INVALID', undefined, 0o777],
    ['that is no executable', 'PROFILE_INVALID', undefined, 0o644],
    [
      'whose profile has stages that nobody enters',
      'PROFILE_INVALID',
      { path: '/bin/cat', profile: 'swtpm' },
      undefined,
    ],
    ['whose profile is nowhere', 'PROFILE_NOT_FOUND', { path: '/bin/cat', profile: 'nothing' }, undefined],
    ['with a relative path', 'PROFILE_INVALID', { path: 'cat' }, undefined],
  ])('at launch: a program %s', async (_, code, program, mode) => {
    using folder = scratch();
    const path = `${folder.path}/program`;
    copyFileSync('/bin/cat', path);
    chmodSync(path, mode ?? 0o755);
    await expect(launchWith({ wrong: program ?? { path } })).rejects.toMatchObject({ code });
  });

  test('at launch and while it runs: a grant of a program that the profile does not define', async () => {
    const allow = [{ request: 'exec', target: 'gzip' }] as const;
    await expect(launchBare([], { allow })).rejects.toMatchObject({ code: 'ADDRESS_INVALID' });
    await using vm = await launchBare();
    await expect(vm.grant({ request: 'exec', target: 'gzip' })).rejects.toMatchObject({ code: 'ADDRESS_INVALID' });
  });
});

test('one that was taken over reaches nothing, makes nothing, and each attempt that its profile does not expect is told', async () => {
  const path = buildProgram('captive', 'test/launch/programs');
  await using vm = await launchWith({ captive: { path, args: [] } });
  const refusals: unknown[] = [];
  const stop = vm.events.watch((event) => {
    if (event.type === 'refusal' && event['door'] === 'program') refusals.push(event['syscall']);
  });
  const running = await vm.exec('captive');
  expect(await running.exited).toEqual({ code: 0, signal: null });
  stop();
  const heard = Buffer.alloc(65_536);
  const { stdin, stdout } = running;
  if (stdout === undefined) throw new Error('no stdout');
  const said = heard.subarray(0, readSync(stdout.fd, heard)).toString();
  stdin?.close();
  stdout.close();
  const errnos = Object.fromEntries(
    said
      .trimEnd()
      .split('\n')
      .map((line) => line.split(' '))
      .map(([name, errno]) => [name, Number(errno)]),
  );
  const { stdin: ours, ...attempts } = errnos;
  expect(ours).toBe(0);
  expect(Object.keys(attempts)).toHaveLength(25);
  expect(Object.entries(attempts).filter(([, errno]) => errno === 0)).toEqual([]);
  expect(refusals).toEqual(
    expect.arrayContaining(['fork', 'vfork', 'clone', 'execve', 'execveat', 'socket', 'kill', 'setsid', 'unshare']),
  );
});

const killed = { code: null, signal: 'SIGKILL' };

describe('is ended', () => {
  const start = async (vm: Sandbox) => {
    const { exited, socket } = await vm.exec('cat');
    return { exited: exited.finally(() => socket?.close()) };
  };

  test('with the VM', async () => {
    const vm = await launchWith({ cat });
    const { exited } = await start(vm);
    await vm.close();
    expect(await exited).toEqual(killed);
    await expect(vm.exec('cat')).rejects.toMatchObject({ code: 'BROKER_DIED' });
  });

  test('with the broker that permitted it, and the next broker runs it again', async () => {
    await using vm = await launchWith({ cat });
    const { exited } = await start(vm);
    const replaced = nextEvent(vm, (event) => event.type === 'broker' && event['what'] === 'replaced');
    process.kill((await vm.status()).broker.pid, 'SIGKILL');
    expect(await exited).toEqual(killed);
    await replaced;
    await using again = await vm.exec('cat');
    expect((await vm.status()).programs).toMatchObject([{ pid: again.pid }]);
  });

  test('when its grant is revoked, when the time of its grant is over, and when it has run for as long as its profile says', async () => {
    const mayGrant = [{ request: 'exec', target: 'cat' }] as const;
    await using vm = await launchWith({ cat, short: { ...cat, seconds: 1 } }, { granted: ['short'], mayGrant });
    await expect(vm.exec('cat')).rejects.toMatchObject(refused);
    const grant = await vm.grant({ request: 'exec', target: 'cat', uses: 1 });
    const one = await start(vm);
    await expect(vm.exec('cat')).rejects.toMatchObject(refused);
    await grant.revoke();
    expect(await one.exited).toEqual(killed);
    await vm.grant({ request: 'exec', target: 'cat', forMs: 300 });
    const other = await start(vm);
    const short = await vm.exec('short');
    expect(await other.exited).toEqual(killed);
    expect(await short.exited).toEqual(killed);
    short.socket?.close();
  });

  test('by who has it', async () => {
    await using vm = await launchWith({ cat });
    const running = await vm.exec('cat');
    await running[Symbol.asyncDispose]();
    expect(await running.exited).toEqual(killed);
  });
});
