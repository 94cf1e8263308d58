// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { featuresThatAllow, readFeatures } from '../../core/policy/index.ts';
import type { SyscallCall } from '../../core/policy/types.ts';
import { loadFeatures, loadProfile } from '../../core/profile-files.ts';
import { archNames, auditArchOf, syscallNumber } from '../../core/tables/index.ts';

function call(name: string, ...args: readonly (number | bigint)[]): SyscallCall {
  const padded = [...args.map(BigInt), 0n, 0n, 0n, 0n, 0n, 0n].slice(0, 6) as unknown as SyscallCall['args'];
  return { nr: syscallNumber('x86_64', name) ?? -1, auditArch: auditArchOf('x86_64'), args: padded };
}

const text = `version: 1
name: example
vmm: qemu
groups: { pipes: [{ allow: [pipe2], why: w }] }
stages:
  start: { syscalls: [{ allow: [read], why: w }] }
  running:
    syscalls: [{ allow: [read], why: w }]
    roles: { vcpu: { why: w, remove: [read], untold: [read] } }
  sealed: { from: running }
features:
  reader: { why: books, stages: { running: { roles: { vcpu: { syscalls: [{ allow: [read], why: w }] } } } } }
  opener: { why: doors, stages: { running: { broker: { open: [{ grant: ['/d/*:ro'], why: w }, { refuse: ['/d/no'], errno: EPERM, why: w }] } } } }
  zebra: { why: stripes, stages: { running: { syscalls: [{ use: [pipes] }, { broker: [connect], why: w }] } } }
  aardvark: { why: ants, stages: { start: { syscalls: [{ allow: [ioctl], when: request == 7, why: w }] } } }
`;

function read(profile: string) {
  return readFeatures(profile, { file: 'p.yaml', arch: 'x86_64', include: () => ({ text: '', file: '' }) });
}

describe('the features of a profile', () => {
  const features = read(text);

  it('are listed by name with their reasons and places', () => {
    expect(features.map(({ name, why, source }) => [name, why, source.line])).toEqual([
      ['aardvark', 'ants', 15],
      ['opener', 'doors', 13],
      ['reader', 'books', 12],
      ['zebra', 'stripes', 14],
    ]);
  });

  it('tell which of them would permit a call, in their stage and those built on it', () => {
    expect(featuresThatAllow(features, 'running', { call: call('pipe2') })).toEqual(['zebra']);
    expect(featuresThatAllow(features, 'sealed', { call: call('pipe2') })).toEqual(['zebra']);
    expect(featuresThatAllow(features, 'start', { call: call('pipe2') })).toEqual([]);
    expect(featuresThatAllow(features, 'running', { call: call('connect') })).toEqual(['zebra']);
    expect(featuresThatAllow(features, 'start', { call: call('ioctl', 3, 7) })).toEqual(['aardvark']);
    expect(featuresThatAllow(features, 'start', { call: call('ioctl', 3, 8) })).toEqual([]);
    expect(featuresThatAllow(features, 'running', { call: call('ptrace') })).toEqual([]);
    expect(featuresThatAllow(features, 'no-such-stage', { call: call('pipe2') })).toEqual([]);
    expect(featuresThatAllow(features, 'running', { call: { ...call('pipe2'), auditArch: 0x40000003 } })).toEqual([]);
    expect(featuresThatAllow(features, 'running', { call: { ...call('pipe2'), nr: 9000 } })).toEqual([]);
  });

  it('tell which of them would permit it to a thread in a role, or grant it', () => {
    const read = call('read');
    expect(featuresThatAllow(features, 'running', { call: read, role: 'vcpu' })).toEqual(['reader']);
    expect(featuresThatAllow(features, 'sealed', { call: read, role: 'vcpu' })).toEqual(['reader']);
    for (const role of [undefined, 'io'])
      expect(featuresThatAllow(features, 'running', { call: read, role })).toEqual([]);
    const opening = (stage: string, path: string, access: 'ro' | 'rw') =>
      featuresThatAllow(features, stage, { call: call('openat'), open: { path, access } });
    expect(opening('running', '/d/file', 'ro')).toEqual(['opener']);
    expect(opening('running', '/d/file', 'rw')).toEqual([]);
    expect(opening('running', '/e/file', 'ro')).toEqual([]);
    // What a stage grants it grants alone.
    expect(opening('sealed', '/d/file', 'ro')).toEqual([]);
  });

  it('are not read from a profile that is wrong', () => {
    expect(() => read(text.replace('pipe2', 'pype2'))).toThrow(/pype2/);
    expect(() => read('version: 2')).toThrow(/version/);
  });
});

describe.each(archNames)('the features of the shipped profile on %s', (arch) => {
  it('load one by one and all together', () => {
    const names = loadFeatures('qemu', { arch }).map(({ name }) => name);
    for (const features of [...names.map((name) => [name]), names]) loadProfile('qemu', { arch, features });
  });
});

it('userfaultfd belongs to postcopy and background snapshots', () => {
  const features = loadFeatures('qemu', { arch: 'x86_64' });
  expect(featuresThatAllow(features, 'running', { call: call('userfaultfd') })).toEqual([
    'background-snapshot',
    'postcopy',
  ]);
});

it('a terminal that may not be opened belongs to pty', () => {
  const features = loadFeatures('qemu', { arch: 'x86_64' });
  const open = { path: '/dev/ptmx', access: 'rw' } as const;
  expect(featuresThatAllow(features, 'running', { call: call('openat'), open })).toEqual(['pty']);
});
