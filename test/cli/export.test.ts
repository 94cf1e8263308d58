// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, describe, expect, test } from 'vitest';
import { packagePath } from '../../native/package-path.ts';
import { Folder, smallProfile } from './fixtures.ts';
import { ratchet } from './ratchet.ts';

const folder = new Folder();
afterAll(() => folder[Symbol.dispose]());
const small = folder.write('small.yaml', smallProfile);

function write(format: string, ...args: readonly string[]): { readonly file: string; readonly stderr: string } {
  const file = folder.file(`stage.${format === 'oci' ? 'json' : format}`);
  const all = ['export', '--to', format, '--arch', 'x86_64', small, '--stage', 'start', '-o', file, ...args];
  const { status, stdout, stderr } = ratchet(...all);
  expect({ status, stdout }).toEqual({ status: 0, stdout: '' });
  return { file, stderr };
}

const whole = [
  '--group',
  packagePath('examples/group/whole.yaml'),
  '--set',
  'kernel=/vmlinuz',
  '--set',
  'initrd=/initrd',
];

describe('ratchet export', () => {
  test('to oci: diff with the stage shows what the report says, and no more', () => {
    const { file, stderr } = write('oci');
    expect(stderr).toContain('small:start as oci: USER_NOTIF became ERRNO(13): connect\n');
    const { changed } = JSON.parse(ratchet('diff', '--arch', 'x86_64', '--json', `${small}:start`, file).stdout) as {
      changed: readonly { syscall: string; a: string; b: string }[];
    };
    const named = changed.filter(({ syscall }) => /^[a-z]/.test(syscall));
    expect(named.map(({ syscall, a, b }) => [syscall, a, b])).toEqual(
      stderr.includes('socket')
        ? [
            ['socket', 'ERRNO(97)', 'ERRNO(1)'],
            ['connect', 'USER_NOTIF', 'ERRNO(13)'],
          ]
        : [['connect', 'USER_NOTIF', 'ERRNO(13)']],
    );
  });

  test('to oci with a listener leaves brokered calls to it', () => {
    const { file, stderr } = write('oci', '--listener', '/run/agent.sock');
    expect(stderr).not.toContain('connect');
    expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({ listenerPath: '/run/agent.sock' });
  });

  test('to raw is a program that refuses what a broker would decide', () => {
    const { file } = write('raw');
    const answer = JSON.parse(ratchet('explain', file, '--arch', 'x86_64', '--json', 'connect').stdout) as unknown;
    expect(answer).toMatchObject({ action: 'errno', errno: 'EACCES', conditional: false });
  });

  test('prints everything as one object for programs', () => {
    const { status, stdout, stderr } = ratchet(
      'export',
      '--to',
      'firecracker',
      small,
      '--stage',
      'start',
      '--arch',
      'x86_64',
      '--json',
    );
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const { document, changed, ...rest } = JSON.parse(stdout) as { document: string; changed: readonly unknown[] };
    expect(rest).toMatchObject({
      format: 'firecracker',
      stage: 'start',
      role: null,
      arch: 'x86_64',
      notes: expect.any(Array),
    });
    expect(JSON.parse(document)).toMatchObject({ vmm: { default_action: { errno: 1 }, filter_action: 'allow' } });
    expect(changed).toContainEqual({ stage: 'USER_NOTIF', exported: 'ERRNO(1)', calls: ['connect'] });
  });

  test.each([
    ['a format that there is not', ['--to', 'kafel', small, '--stage', 'start'], 'oci, spo'],
    ['no format', [small, '--stage', 'start'], '--to'],
    ['no stage where there are several', ['--to', 'oci', small], 'start, running'],
    ['a role that there is not', ['--to', 'oci', small, '--stage', 'start', '--role', 'vcpu'], 'role vcpu'],
    ['a listener for a format without', ['--to', 'raw', small, '--stage', 'start', '--listener', '/x'], 'who listens'],
    ['a file that cannot be written', ['--to', 'oci', small, '--stage', 'start', '-o', '/nowhere/x'], 'ENOENT'],
    ['an unknown option', ['--to', 'oci', '--pretty', small], '--pretty'],
    ['grants for a format of calls', ['--to', 'oci', small, '--stage', 'start', '--allow', 'open=/x'], 'knows calls'],
    ['a role for a format without threads', ['--to', 'apparmor', 'qemu', '--role', 'vcpu'], 'knows no threads'],
    ['a profile whose files are not known', ['--to', 'apparmor', small], 'has no layers'],
    ['a profile and a group', ['--to', 'oci', small, '--group', 'x.yaml', '-o', '/nowhere'], '--group exports no'],
    ['a group without a folder', ['--to', 'oci', '--group', 'examples/group/whole.yaml'], 'name a folder'],
    ['--exec for a format of no runtime', ['--to', 'raw', small, '--stage', 'start', '--exec'], 'says nothing to raw'],
    ['neither', ['--to', 'oci'], 'there is nothing to export'],
    ['a grant for a whole group', ['--to', 'apparmor', '--group', 'x.yaml', '--allow', 'open=/x'], 'of a member'],
  ])('is misuse with %s', (_, args, hint) => {
    expect(ratchet('export', ...args)).toMatchObject({ status: 2, stdout: '', stderr: expect.stringContaining(hint) });
  });

  test('writes a file for each stage of each member of a group', () => {
    const to = folder.file('whole');
    const all = ['export', ...whole, '--arch', 'x86_64', '-o', to, '--json'];
    const { status, stdout } = ratchet(...all, '--to', 'oci');
    expect(status).toBe(0);
    const members = ['net', 'storage', 'tpm', 'vmm'];
    const stages = ['running', 'sealed', 'start'];
    const files = members.flatMap((member) => stages.map((stage) => `${member}-${stage}.json`));
    expect(readdirSync(to).sort()).toEqual(files);
    expect((JSON.parse(stdout) as readonly { member: string; file: string }[]).map(({ file }) => file).sort()).toEqual(
      files.map((file) => `${to}/${file}`),
    );
  });

  test('writes one AppArmor profile a member, with what the group file lets it have', () => {
    const to = folder.file('mac');
    const disk = '/srv/vm1/disk.img';
    expect(ratchet('export', '--to', 'apparmor', ...whole, '--set', `disk=${disk}`, '-o', to).status).toBe(0);
    expect(readdirSync(to).sort()).toEqual(['net.apparmor', 'storage.apparmor', 'tpm.apparmor', 'vmm.apparmor']);
    expect(readFileSync(`${to}/storage.apparmor`, 'utf8')).toContain(`profile ratchet-whole-storage `);
    expect(readFileSync(`${to}/storage.apparmor`, 'utf8')).toContain(`"${disk}" rwk,`);
    expect(readFileSync(`${to}/tpm.apparmor`, 'utf8')).not.toContain(disk);
  });
});
