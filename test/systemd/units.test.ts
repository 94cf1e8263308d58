// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { afterAll, expect, test } from 'vitest';
import { systemdUnits } from '../../core/formats/systemd-units.ts';
import { Folder } from '../cli/fixtures.ts';
import { ratchet } from '../cli/ratchet.ts';

const folder = new Folder();
afterAll(() => folder[Symbol.dispose]());

function verify(unit: string): { readonly status: number | null; readonly stderr: string } {
  const { status, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', folder.file(unit)], {
    encoding: 'utf8',
  });
  return { status, stderr };
}

test('the units of a profile are what systemd understands, without a word of it left over', () => {
  const { status, stdout } = ratchet(
    'export',
    '--to',
    'systemd',
    '--unit',
    'qemu',
    '--feature',
    'spice',
    '-o',
    folder.path,
  );
  expect({ status, stdout }).toEqual({ status: 0, stdout: '' });
  expect(verify('ratchet@.service')).toEqual({ status: 0, stderr: '' });
  expect(verify('ratchet@.socket')).toEqual({ status: 0, stderr: '' });
  const text = readFileSync(folder.file('ratchet@.service'), 'utf8');
  expect(text).toContain('main.js run --profile qemu --feature spice $RATCHET -- $VMM\n');
  expect(text).toContain('DeviceAllow=/dev/kvm rw\n');
  // The same check sees a mistake.
  folder.write('wrong.service', text.replace('Delegate=yes', 'Delegated=yes'));
  expect(verify('wrong.service').stderr).toContain("Unknown key 'Delegated'");
});

test('there is nothing in them that systemd makes with seccomp', () => {
  const { stdout } = ratchet('export', '--to', 'systemd', '--unit', 'qemu');
  const keys = [...stdout.matchAll(/^(\w+)=/gm)].map(([, key]) => key);
  const bySeccomp =
    /^(SystemCall|Restrict(AddressFamilies|Namespaces|Realtime|SUIDSGID)|MemoryDenyWriteExecute|LockPersonality|Protect(Kernel|Clock|Hostname)|PrivateDevices)/;
  expect(keys).toContain('NoNewPrivileges');
  expect(keys.filter((key) => bySeccomp.test(key ?? ''))).toEqual([]);
});

test.each([
  ['another format', ['--to', 'oci', '--unit', 'qemu'], 'oci has no units'],
  ['a stage', ['--to', 'systemd', '--unit', 'qemu', '--stage', 'start'], 'does not depend on --stage'],
])('units are misuse with %s', (_, args, message) => {
  expect(ratchet('export', ...args)).toMatchObject({ status: 2, stderr: expect.stringContaining(message) });
});

test.each([
  ['the profile', '/etc/a\nExecStartPre=/bin/sh', '/dev/kvm'],
  ['a device', 'qemu', '/dev/kvm rwm\nDevicePolicy=auto'],
  ['a device with a blank', 'qemu', '/dev/a b'],
])('%s cannot add a setting', (_, profile, device) => {
  const layers = { why: '', environment: [], namespaces: [], files: { read: [], write: [device] }, stages: [] };
  expect(() => systemdUnits({ profile, features: [], layers, command: ['ratchet'] })).toThrow(
    'a unit cannot hold the path',
  );
});
