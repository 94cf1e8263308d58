// SPDX-License-Identifier: Apache-2.0
// Layers on the real daemon, looked at by other means than the report's.
import { chownSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { launchVmm } from '../../core/launch/launch.ts';
import type { Sandbox } from '../../core/launch/sandbox.ts';
import type { LayerOptions } from '../../core/layers/plan.ts';
import { holdUser } from '../../core/layers/user-range.ts';
import type { Vmm } from '../../core/vmm/vmm.ts';
import { statusField } from '../launch/processes.ts';
import { attestRootless, type RootlessMember } from './rootless.ts';

const user = 61_998;
let folder: string;
let sandbox: Sandbox<Vmm> | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ratchet-layers-'));
  writeFileSync(join(folder, 'image'), Buffer.alloc(1 << 20));
});

afterEach(async () => {
  await sandbox?.close();
  sandbox = undefined;
  rmSync(folder, { recursive: true });
});

async function start(layers: LayerOptions, allow = true): Promise<Sandbox<Vmm>> {
  const image = join(folder, 'image');
  sandbox = await launchVmm({
    command: ['qemu-storage-daemon', '--blockdev', `driver=file,node-name=disk,filename=${image}`],
    allow: allow ? [{ request: 'open', target: image }] : [],
    environment: { ...process.env, LANG: 'C', SECRET: 'in the environment' },
    stdio: ['ignore', 'ignore', 'pipe'],
    layers,
  });
  return sandbox;
}

const states = async (): Promise<Readonly<Record<string, string>>> =>
  Object.fromEntries(((await sandbox?.attest())?.mechanisms ?? []).map(({ name, state }) => [name, state]));

describe('a daemon with all layers', () => {
  it('is another user in namespaces of its own, without capabilities, secrets or further descriptors', async () => {
    chownSync(folder, user, user);
    chownSync(join(folder, 'image'), user, user);
    const { pid } = await start({ user });
    for (const field of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
      expect(statusField(pid, field)).toBe('0000000000000000');
    expect(statusField(pid, 'Uid')).toBe(`${user}\t${user}\t${user}\t${user}`);
    expect(readFileSync(`/proc/${pid}/status`, 'utf8')).toMatch(/^Groups:\t *$/m);
    expect(statusField(pid, 'NoNewPrivs')).toBe('1');
    for (const kind of ['net', 'ipc', 'uts', 'cgroup', 'mnt'])
      expect(readlinkSync(`/proc/${pid}/ns/${kind}`)).not.toBe(readlinkSync(`/proc/self/ns/${kind}`));
    expect(readFileSync(`/proc/${pid}/environ`, 'utf8').replaceAll('\0', ' ')).toBe('LANG=C ');
    expect(readFileSync(`/proc/${pid}/limits`, 'utf8')).toMatch(/Max core file size\s+0\s+0/);
    expect(readFileSync(`/proc/${pid}/net/dev`, 'utf8').match(/^\s*\w+:/gm)).toEqual(['    lo:']);
    const wanted = [
      'namespace-net',
      'user',
      'capabilities',
      'securebits',
      'landlock-files',
      'landlock-tcp',
      'landlock-scopes',
      'descriptors',
    ];
    const found = await states();
    expect(wanted.filter((name) => found[name] !== 'enforced')).toEqual([]);
    expect(await sandbox?.attest()).toMatchObject({ ok: true, stage: 'running' });
  });

  it('reads no image that was not granted, from its first instruction on', async () => {
    await expect(start({ without: ['root'] }, false)).rejects.toThrow(/Permission denied/);
    await expect(start({ without: ['landlock-files'] }, false)).rejects.toThrow(/No such file/);
  });

  it('says what was left out', async () => {
    await start({ without: ['landlock-files', 'root', 'namespace-net'] }, false);
    expect(await states()).toMatchObject({
      'landlock-files': 'absent',
      'namespace-net': 'absent',
      'landlock-tcp': 'enforced',
    });
  });

  it('is not started under a profile that has none', async () => {
    const profile = {
      version: 1,
      name: 'bare',
      vmm: 'qemu-storage-daemon',
      include: ['groups/start', 'groups/process'],
      stages: {
        start: { syscalls: [{ use: ['one-exec', 'threads', 'memory'] }, { allow: ['mmap'], why: 'the loader' }] },
      },
    };
    await expect(launchVmm({ command: ['qemu-storage-daemon'], profile, layers: {} })).rejects.toThrow(
      'profile bare has no layers',
    );
  });
});

describe('without root', () => {
  const attestStorage = (options: object = {}): RootlessMember => {
    for (const path of [folder, join(folder, 'image')]) chownSync(path, user, user);
    const storage = {
      command: ['qemu-storage-daemon', '--blockdev', `driver=file,node-name=disk,filename=${folder}/image`],
      allow: [`open=${folder}/image`],
      ...options,
    };
    return attestRootless({ folder, user, members: { storage } })['storage'] as RootlessMember;
  };

  it('has the same, in a user namespace', () => {
    const { ok, mechanisms } = attestStorage();
    const enforced = mechanisms.filter(({ state }) => state === 'enforced').map(({ name }) => name);
    expect(enforced).toEqual(
      expect.arrayContaining([
        'namespace-user',
        'namespace-net',
        'capabilities',
        'securebits',
        'landlock-files',
        'descriptors',
      ]),
    );
    expect(ok).toBe(true);
  });

  it('has no capabilities in a namespace of nobody’s either, and says what of them stays', () => {
    const without = ['net', 'ipc', 'uts', 'cgroup', 'mount', 'pid'].map((kind) => `namespace-${kind}`);
    const { ok, mechanisms } = attestStorage({ layers: { without: [...without, 'securebits'] } });
    expect(mechanisms.find(({ name }) => name === 'capabilities')).toMatchObject({
      state: 'enforced',
      reason: expect.stringContaining('the bounding set stays') as string,
    });
    expect(ok).toBe(true);
  });
});

describe('a user of a range', () => {
  it('is nobody else’s while it is held', () => {
    using first = holdUser({ first: 61_000, last: 61_001 });
    {
      using second = holdUser({ first: 61_000, last: 61_001 });
      expect([first.user, second.user]).toEqual([61_000, 61_001]);
      expect(() => holdUser({ first: 61_000, last: 61_001 })).toThrow('every user id from 61000 to 61001 is taken');
    }
    using again = holdUser({ first: 61_000, last: 61_001 });
    expect(again.user).toBe(61_001);
  });
});
