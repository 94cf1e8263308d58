// SPDX-License-Identifier: Apache-2.0
// Fewer files, and lower limits, from a stage on: in a program that goes on opening files by itself, on the real kernel.
import { chownSync, copyFileSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { launchVmm } from '../../core/launch/launch.ts';
import type { Sandbox } from '../../core/launch/sandbox.ts';
import type { LayerOptions } from '../../core/layers/plan.ts';
import { NothingChanged } from '../../core/stages/tighten.ts';
import type { Vmm } from '../../core/vmm/vmm.ts';
import { launchBare } from '../launch/bare.ts';
import { profileWithRoles, vcpuAndIo } from '../launch/profile-with-roles.ts';
import { buildProgram } from '../native/build-program.ts';
import { type RawProfile, readerProfile } from './reader-profile.ts';
import { attestRootless } from './rootless.ts';

const build = (): string => buildProgram('reader', 'test/layers/programs');
beforeAll(() => void build(), 60_000);

const user = 61_995;
let folder: string;
let a: string;
let b: string;
let sandbox: Sandbox<Vmm> | undefined;
let lines: AsyncIterator<string>;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ratchet-files-'));
  [a, b] = ['a', 'b'].map((name) => join(folder, name)) as [string, string];
  for (const file of [a, b]) writeFileSync(file, 'content');
});

afterEach(async () => {
  await sandbox?.kill();
  sandbox = undefined;
  rmSync(folder, { recursive: true });
});

async function start(profile: RawProfile, layers: LayerOptions = {}, soak?: readonly string[]): Promise<Sandbox<Vmm>> {
  sandbox = await launchVmm({
    command: [build(), a, b],
    profile,
    stdio: ['pipe', 'pipe', 'pipe'],
    layers: { without: ['cgroup'], ...layers },
    ...(soak === undefined ? {} : { soak }),
  });
  lines = createInterface({ input: sandbox.stdout })[Symbol.asyncIterator]();
  expect((await lines.next()).value).toBe('ready');
  return sandbox;
}

async function tell(command: string): Promise<string> {
  sandbox?.stdin.write(command);
  return String((await lines.next()).value);
}

const nextFiles = ['next-stage', 'next-files'];
/** Both files, then the first, then none. */
const narrowing = (): RawProfile =>
  readerProfile(
    { read: [a, b] },
    {
      start: { next: nextFiles },
      running: { next: nextFiles, layers: { files: { read: [a] } } },
      sealed: { layers: { files: { read: [] } } },
    },
  );
/** Six that wait, the one of the chain that is met, and the leader; or more. */
const entered = /^1 paths from stage running on: ([7-9]|\d\d+) threads restricted themselves/;
const all = 'A 9 of 9, B 9 of 9, held yes';
const row = async (): Promise<unknown> =>
  (await sandbox?.attest())?.mechanisms.find(({ name }) => name === 'landlock-files');

describe('a stage that leaves fewer files', () => {
  it('takes the others from every thread, those that are made meanwhile included, and nothing that is open', async () => {
    const { pid } = await start(narrowing());
    for (const fd of [16382, 16381]) expect(readlinkSync(`/proc/${pid}/fd/${fd}`)).toContain('landlock-ruleset');
    const born = (await sandbox?.attest())?.mechanisms.find(({ name }) => name === 'descriptors');
    expect(born).toMatchObject({ state: 'enforced', reason: 'born with exactly 0, 1, 2, 3, 16381, 16382' });
    expect(await tell('t')).toBe(all);
    expect(await row()).toMatchObject({ state: 'enforced', reason: expect.stringMatching(/^\d+ paths; the stager/) });
    await sandbox?.enter('running');
    expect(await tell('t')).toBe('A 9 of 9, B 0 of 9, held yes');
    expect(await row()).toMatchObject({ state: 'enforced', reason: expect.stringMatching(entered) });
    await sandbox?.enter('sealed');
    expect(await tell('t')).toBe('A 0 of 9, B 0 of 9, held yes');
    expect(await sandbox?.attest()).toMatchObject({ ok: true, stage: 'sealed' });
    // What no stage needs any more.
    expect(await tell('w')).toBe('add EPERM, restrict EPERM, take EBADF');
  });

  it('keeps what its broker may open then; a lower limit holds for the program as it runs', async () => {
    const broker = { open: [{ grant: [`${b}:ro`], why: 'a test' }] };
    const layers = { files: { read: [] }, rlimits: { nofile: 24 } };
    const stages = { start: { next: nextFiles, keys: { broker } }, running: { layers, keys: { broker } } };
    const { pid } = await start(readerProfile({ read: [a, b] }, stages));
    const before = await tell('d');
    await sandbox?.enter('running');
    expect(await tell('t')).toBe('A 0 of 9, B 9 of 9, held yes');
    expect(readFileSync(`/proc/${pid}/limits`, 'utf8')).toMatch(/^Max open files +24 +24 /m);
    const [more, less] = [before, await tell('d')].map((told) => Number(/^(\d+) more, EMFILE$/.exec(told)?.[1]));
    // It was 64.
    expect((more ?? 0) - (less ?? 0)).toBe(40);
  });

  it('does so in namespaces and a root of its own, as another user', async () => {
    const profile = narrowing();
    const layers = { ...profile.layers, namespaces: ['net', 'ipc', 'uts', 'cgroup', 'mount', 'pid'], root: 'minimal' };
    for (const path of [folder, a, b]) chownSync(path, user, user);
    await start({ ...profile, layers }, { user });
    expect(await tell('t')).toBe(all);
    await sandbox?.enter('running');
    expect(await tell('t')).toBe('A 9 of 9, B 0 of 9, held yes');
    expect(await sandbox?.attest()).toMatchObject({ ok: true, stage: 'running' });
  });

  it('can be left out with the layer, and the report says so', async () => {
    await start(narrowing(), { without: ['cgroup', 'landlock-files'] });
    await sandbox?.enter('running');
    expect(await tell('t')).toBe(all);
    expect(await row()).toEqual({ name: 'landlock-files', state: 'absent', reason: 'the launcher left it out' });
  });

  it('is not claimed where a stage before was in soak', async () => {
    await start(narrowing(), {}, ['start']);
    await sandbox?.enter('running');
    expect(await row()).toMatchObject({ state: 'partial', reason: expect.stringContaining('stage start is in soak') });
    expect(await sandbox?.attest()).toMatchObject({ ok: false });
  });
});

it('goes with filters of roles, in QEMU, and in the vCPU that comes later', async () => {
  const profile = profileWithRoles(vcpuAndIo) as unknown as {
    readonly stages: Readonly<Record<'start' | 'running', { syscalls: object[]; layers: object }>>;
  };
  const { start: first, running } = profile.stages;
  first.syscalls.push({ allow: ['landlock_restrict_self'], when: 'flags == 0', why: 'a test' });
  running.layers = { ...running.layers, files: { read: ['/usr'], write: ['/dev/kvm'] } };
  const qemu = await launchBare(['-smp', '1,maxcpus=2', '-cpu', 'qemu64', '-object', 'iothread,id=io0'], {
    profile,
    layers: { without: ['root'] },
  });
  sandbox = qemu;
  await qemu.vmm.hotplug.addCpu();
  const report = await qemu.attest();
  expect(report).toMatchObject({ ok: true, stage: 'running' });
  expect(report.mechanisms).toContainEqual({
    name: 'roles',
    state: 'enforced',
    reason: 'vcpu on 2 threads, io on 1 threads',
  });
  const reason = expect.stringMatching(/^\d+ paths from stage running on: \d+ threads restricted themselves/);
  expect(report.mechanisms).toContainEqual({ name: 'landlock-files', state: 'enforced', reason });
  expect(await qemu.enter('sealed')).toMatchObject({ ok: true });
});

describe('without root', () => {
  it('each thread gives up its files as well', () => {
    for (const path of [folder, a, b]) chownSync(path, user, user);
    const [profile, program] = ['reader.json', 'reader'].map((name) => join(folder, name)) as [string, string];
    copyFileSync(build(), program);
    const narrow = narrowing();
    writeFileSync(profile, JSON.stringify({ ...narrow, layers: { ...narrow.layers, namespaces: ['ipc'] } }));
    const member = { command: [program, a, b], profile, layers: { without: ['cgroup'] } };
    const { reader } = attestRootless({ folder, user, members: { reader: member } });
    expect(reader?.mechanisms.find(({ name }) => name === 'landlock-files')).toMatchObject({
      state: 'enforced',
      // It may be as early as that: nobody waits until it has all its threads.
      reason: expect.stringMatching(/^1 paths from stage running on: \d+ threads restricted themselves/),
    });
    expect(reader?.ok).toBe(true);
  });
});

describe('a program that would keep its files', () => {
  it('adds no rules, puts no other file in the place of a ruleset, and is not moved on without', async () => {
    await start(narrowing());
    expect(await tell('w')).toBe('add EPERM, restrict EBADF, take EBADF');
    expect(await tell('c')).toBe('closed 2');
    expect(await tell('w')).toBe('add EPERM, restrict EBADF, take EBADF');
    const refused = await sandbox?.enter('running').catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(NothingChanged);
    expect(String(refused)).toMatch(/failed at step landlock.*EBADF.*has closed the descriptor of the ruleset/s);
    expect(sandbox?.stage).toBe('start');
    expect(await tell('t')).toBe(all);
  });
});
