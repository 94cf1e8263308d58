// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ProfileError } from '../../core/policy/index.ts';
import { hostArch, loadProfile, readProfileText, shippedProfiles } from '../../core/profile-files.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ratchet-profiles-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const base = 'version: 1\nname: mine\nvmm: mine\n';

function file(name: string, text: string): string {
  const path = join(folder, name);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, text);
  return path;
}

describe('loading a profile', () => {
  it('finds shipped ones by name', () => {
    expect(shippedProfiles()).toContain('qemu');
    expect(loadProfile('qemu')).toMatchObject({ name: 'qemu', file: 'profiles/qemu.yaml', arch: hostArch() });
  });

  it('reads files by path, with what they include from beside them or from the shipped ones', () => {
    file('parts/own.yaml', 'version: 1\ngroups: { own: [{ allow: [read], why: w }] }');
    const path = file(
      'a.yaml',
      `${base}include: [parts/own, groups/process]\nstages: { start: { syscalls: [{ use: [own, random] }] } }`,
    );
    const profile = loadProfile(path);
    expect(profile.stages[0]?.filter.syscalls.map(({ name }) => name).sort()).toEqual(['getrandom', 'read']);
    expect(profile.file).toBe(path);
    const random = profile.stages[0]?.filter.syscalls.find(({ name }) => name === 'getrandom');
    expect(random?.rules[0]?.source.file).toBe('profiles/groups/process.yaml');
  });

  it('takes objects of the same form', () => {
    const profile = loadProfile({
      version: 1,
      name: 'o',
      vmm: 'o',
      stages: { start: { syscalls: [{ allow: ['read'], why: 'w' }] } },
    });
    expect(profile).toMatchObject({ name: 'o', file: '<object>' });
    expect(() => loadProfile({ version: 1 })).toThrow(ProfileError);
  });

  it('says which names there are when it finds none', () => {
    expect(() => loadProfile('qmeu')).toThrowError(
      expect.objectContaining({ code: 'PROFILE_NOT_FOUND', message: expect.stringContaining('"qemu"') }),
    );
    expect(() => readProfileText(join(folder, 'none.yaml'))).toThrowError(
      expect.objectContaining({ code: 'PROFILE_NOT_FOUND', errno: 'ENOENT' }),
    );
    expect(() => loadProfile(folder)).toThrowError(
      expect.objectContaining({ code: 'PROFILE_NOT_FOUND', errno: 'EISDIR' }),
    );
  });

  it('includes nothing from outside of the folders', () => {
    file('outside.yaml', 'version: 1\n');
    const path = file('inner/b.yaml', `${base}include: [../outside]\nstages: { start: {} }`);
    expect(() => loadProfile(path)).toThrow(/leads out of the folder/);
    const absent = file('inner/c.yaml', `${base}include: [nothing]\nstages: { start: {} }`);
    expect(() => loadProfile(absent)).toThrow(/there is no nothing\.yaml/);
  });
});
