// SPDX-License-Identifier: Apache-2.0
// A root with what was granted and nothing else, and one without anything, on the real daemon; looked at in /proc.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { launchVmm } from '../../core/launch/launch.ts';
import type { Sandbox } from '../../core/launch/sandbox.ts';
import type { LayerOptions } from '../../core/layers/plan.ts';
import { mountsOf, planRoot, type RootPlan } from '../../core/layers/root-plan.ts';
import { readLayers, type StageRoot } from '../../core/policy/index.ts';
import type { StorageDaemon } from '../../core/storage-daemon/storage-daemon.ts';
import type { Vmm } from '../../core/vmm/vmm.ts';
import { native } from '../../native/index.ts';
import { packagePath } from '../../native/package-path.ts';
import { attestRootless } from './rootless.ts';

const user = 61_996;
let folder: string;
let image: string;
let sandbox: Sandbox<Vmm> | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ratchet-root-'));
  image = join(folder, 'image');
  writeFileSync(image, Buffer.alloc(1 << 20));
});

afterEach(async () => {
  await sandbox?.close();
  sandbox = undefined;
  rmSync(folder, { recursive: true });
});

async function start(until: string, layers: LayerOptions = {}): Promise<Sandbox<Vmm>> {
  sandbox = await launchVmm({
    command: ['qemu-storage-daemon', '--blockdev', `driver=file,node-name=disk,filename=${image}`],
    allow: [{ request: 'open', target: image }],
    stdio: ['ignore', 'ignore', 'pipe'],
    until,
    layers,
  });
  return sandbox;
}

/** Our own children that wait to empty a root. */
const emptiers = (): readonly number[] => {
  const self = native.openPidfd({ pid: process.pid, thread: false });
  const { threads } = native.lookAtHoldings({ pid: process.pid, pidfd: self, descriptors: false });
  native.closeFd({ fd: self });
  return threads
    .flatMap(({ children }) => children)
    .filter((child) => readFileSync(`/proc/${child}/cmdline`, 'utf8').includes('--empty-root'));
};

const row = async (): Promise<unknown> => (await sandbox?.attest())?.mechanisms.find(({ name }) => name === 'root');
const mounts = (pid: number): readonly string[] =>
  readFileSync(`/proc/${pid}/mountinfo`, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => line.split(' ').slice(4, 6).join(' '));

describe('a minimal root', () => {
  it('has what was granted, as narrow as it may be, and is read-only itself', async () => {
    const { pid } = await start('start');
    const found = mounts(pid);
    expect(found[0]).toMatch(/^\/ ro,nosuid,nodev,noexec/);
    expect(found).toContainEqual(expect.stringMatching(/^\/usr ro,nosuid,nodev/));
    expect(found).toContainEqual(expect.stringMatching(`^${image} rw,nosuid,nodev,noexec`));
    expect(found).toContainEqual(expect.stringMatching(/^\/dev\/null rw,nosuid,noexec/));
    expect(readdirSync(`/proc/${pid}/root/`)).not.toContain('home');
    expect(readdirSync(`/proc/${pid}/root${folder}`)).toEqual(['image']);
    expect(readdirSync(`/proc/${pid}/root/etc`)).not.toContain('passwd');
    expect(await row()).toMatchObject({ state: 'enforced', reason: expect.stringContaining(`minimal: /usr, `) });
  });

  it('shows in /proc itself alone, and nothing of the kernel', async () => {
    const { pid } = await start('start');
    const numbers = readdirSync(`/proc/${pid}/root/proc`).filter((name) => /^\d+$/.test(name));
    expect(numbers).toEqual(['1']);
    expect(readdirSync(`/proc/${pid}/root/proc`).sort()).toEqual(['1', 'self', 'thread-self']);
  });

  it('is left out with its mount namespace, and the report says so', async () => {
    await start('start', { without: ['namespace-mount'] });
    expect(await row()).toEqual({ name: 'root', state: 'absent', reason: 'it has no mount namespace of its own' });
  });
});

describe('a stage with an empty root', () => {
  it('leaves nothing to be found, and the daemon works on', async () => {
    const { pid, vmm } = await start('running');
    expect(mounts(pid)).toEqual([expect.stringMatching(/^\/ ro,/)]);
    expect(readdirSync(`/proc/${pid}/root/`)).toEqual([]);
    expect(await row()).toEqual({
      name: 'root',
      state: 'enforced',
      reason: 'empty: nothing is mounted in it, and there is no file',
    });
    expect(await sandbox?.attest()).toMatchObject({ ok: true });
    const { qmp } = vmm as StorageDaemon;
    // Opened by the broker, by its name.
    await qmp.execute('blockdev-add', { driver: 'file', 'node-name': 'again', filename: image, 'read-only': true });
    await sandbox?.enter('sealed');
    expect(readdirSync(`/proc/${pid}/root/`)).toEqual([]);
  });

  it('is made by a process that waits from the start; with a program that never comes to that stage it ends, and has done nothing', async () => {
    const { pid } = await start('start');
    const waiting = emptiers();
    expect(waiting).toHaveLength(1);
    expect(mounts(pid).length).toBeGreaterThan(1);
    await sandbox?.enter('running');
    expect(emptiers()).toEqual([]);
    await sandbox?.close();
    await start('start');
    expect(emptiers()).toHaveLength(1);
    await sandbox?.close();
    expect(emptiers()).toEqual([]);
  });

  it('is left as it is when not all mounts were told', () => {
    const stager = packagePath('build/Release/ratchet-stager');
    // A namespace that cannot be entered: it would say so.
    const told = spawnSync(stager, ['--empty-root', '0', '131072'], { input: '/usr\0', encoding: 'utf8' });
    expect(told).toMatchObject({ status: 2, stderr: '' });
    const all = spawnSync(stager, ['--empty-root', '0', '131072'], { input: '/usr\0\0', encoding: 'utf8' });
    expect(all).toMatchObject({ status: 1, stderr: '{"what":"enter","path":"the namespaces","errno":22}\n' });
  });

  it('is nothing that a launcher without root cannot have', () => {
    for (const path of [folder, image]) chownSync(path, user, user);
    const command = ['qemu-storage-daemon', '--blockdev', `driver=file,node-name=disk,filename=${image}`];
    const { storage } = attestRootless({ folder, user, members: { storage: { command, allow: [`open=${image}`] } } });
    expect(storage?.mechanisms.filter(({ name }) => ['root', 'namespace-pid'].includes(name))).toMatchObject([
      { name: 'namespace-pid', state: 'enforced' },
      { name: 'root', state: 'enforced', reason: 'empty: nothing is mounted in it, and there is no file' },
    ]);
    expect(storage?.ok).toBe(true);
  });
});

describe('what a root is planned to hold', () => {
  it('leads through every link to where a path really is', () => {
    symlinkSync('image', join(folder, 'link'));
    symlinkSync(join(folder, 'link'), join(folder, 'absolute'));
    const plan = planRoot([{ path: join(folder, 'absolute'), uses: ['write'] }]);
    expect(plan).toEqual({
      binds: [{ path: image, uses: 1 }],
      staying: [],
      links: [
        { path: join(folder, 'absolute'), target: join(folder, 'link') },
        { path: join(folder, 'link'), target: 'image' },
      ],
      proc: false,
    });
  });

  it('leaves out what another path has already, unless less may be done there', () => {
    chmodSync(image, 0o600);
    const plan = planRoot([
      { path: image, uses: [] },
      { path: folder, uses: [] },
      { path: image, uses: ['write'] },
    ]);
    expect(plan?.binds).toEqual([
      { path: folder, uses: 0 },
      { path: image, uses: 1 },
    ]);
  });

  it('holds apart what a later stage keeps, and knows what that is', () => {
    const plan = planRoot([
      { path: folder, uses: [] },
      { path: image, uses: [], stays: true },
    ]) as RootPlan;
    expect(plan.staying).toEqual([image]);
    const left = (root: StageRoot): readonly string[] => [...mountsOf(plan, root).keys()];
    expect([left('whole'), left('granted'), left('empty')]).toEqual([['/', folder, image], ['/', image], ['/']]);
  });

  it('is not there when everything was granted, for a ring of links, or for what does not exist', () => {
    expect(planRoot([{ path: '/', uses: [] }])).toBeUndefined();
    symlinkSync('ring', join(folder, 'ring'));
    const plan = planRoot([join(folder, 'ring'), join(folder, 'missing')].map((path) => ({ path, uses: [] })));
    expect(plan).toEqual({ binds: [], staying: [], links: [], proc: false });
  });
});

describe('the roots of the stages of a profile', () => {
  const stages = (...roots: readonly string[]): (() => unknown) => {
    const later = roots.map((root, index) => `  s${index}: { layers: { root: ${root}, why: w } }`);
    const head = 'version: 1\nname: a\nvmm: program\n';
    const layers = 'layers: { why: w, environment: [], namespaces: [mount], root: minimal, files: { read: [] } }\n';
    return () => readLayers(`${head}${layers}stages:\n  first: {}\n${later.join('\n')}\n`, 'a.yaml')?.stages;
  };

  it('only get smaller', () => {
    expect(stages('granted', 'empty')()).toMatchObject([{ root: 'whole' }, { root: 'granted' }, { root: 'empty' }]);
    expect(stages('empty', 'granted')).toThrow('a.yaml:8:');
    expect(stages('empty', 'granted')).toThrow('a later stage is never looser: granted, and it was empty');
  });
});
