// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { withGrants } from '../../core/policy/index.ts';
import { loadProfile } from '../../core/profile-files.ts';
import { proveTightening } from '../../core/verifier/index.ts';

const profile = (start: object, running: object): object => {
  const syscalls = [{ allow: ['read'], why: 'needed' }];
  return {
    version: 1,
    name: 'test',
    vmm: 'qemu',
    programs: { pack: { path: '/usr/bin/gzip', why: 'w' }, unpack: { path: '/usr/bin/gzip', why: 'w' } },
    stages: {
      start: { why: 'first', syscalls, broker: start },
      running: { why: 'second', syscalls, broker: running },
    },
  };
};

const grant = (...targets: string[]): object[] => [{ grant: targets, why: 'needed' }];
const mayGrant = (...targets: string[]): object[] => [{ 'may-grant': targets, why: 'needed' }];
const refuse = (...targets: string[]): object[] => [{ refuse: targets, errno: 'ENOENT', why: 'expected' }];

function problems(start: object, running: object): readonly string[] {
  return proveTightening(loadProfile(profile(start, running), { arch: 'x86_64' })).map(({ message }) => message);
}

test.each([
  [{ connect: grant('tcp:10.0.0.0/8:1-100') }, { connect: grant('tcp:10.1.0.0/16:5-10') }],
  [{ connect: grant('unix:/run/vm/**') }, { connect: grant('unix:/run/vm/*.sock') }],
  [{ open: grant('/srv/**') }, { open: grant('/srv/disk.img:ro') }],
  [{ bind: grant('tcp:127.0.0.1:1-9') }, {}],
  [{ tap: grant('rt*') }, { tap: grant('rt1', 'rt%d') }],
  [{ exec: grant('pack', 'unpack') }, { exec: grant('unpack') }],
  [{ connect: mayGrant('tcp:10.0.0.0/8:1') }, { connect: mayGrant('tcp:10.0.0.1:1') }],
  [{ connect: grant('tcp:10.0.0.0/8:1') }, { connect: mayGrant('tcp:10.0.0.1:1') }],
  [
    { open: [...grant('/etc/**:ro'), ...refuse('/etc/shadow')] },
    { open: [...grant('/etc/hosts:ro'), ...refuse('/etc/shadow')] },
  ],
])('a stage may grant what lies within the one before: %j then %j', (start, running) => {
  expect(problems(start, running)).toEqual([]);
});

test.each([
  [{}, { connect: grant('tcp:127.0.0.1:80') }, 'running grants connect tcp:127.0.0.1:80'],
  [{ exec: grant('pack') }, { exec: grant('unpack') }, 'running grants exec unpack'],
  [{ exec: mayGrant('pack') }, { exec: grant('pack') }, 'running grants exec pack'],
  [{ exec: [...grant('pack'), ...refuse('unpack')] }, { exec: grant('pack') }, 'refuses exec unpack'],
  [{ connect: grant('tcp:127.0.0.1:80') }, { connect: grant('tcp:127.0.0.1:80-81') }, 'tcp:127.0.0.1:80-81'],
  [{ connect: grant('tcp:10.0.0.0/16:80') }, { connect: grant('tcp:10.0.0.0/8:80') }, 'tcp:10.0.0.0/8:80'],
  [{ bind: grant('tcp:127.0.0.1:80') }, { connect: grant('tcp:127.0.0.1:80') }, 'grants connect'],
  [{ open: grant('/srv/disk.img:ro') }, { open: grant('/srv/disk.img') }, 'grants open /srv/disk.img'],
  [{ open: [...grant('/etc/**:ro'), ...refuse('/etc/shadow')] }, { open: grant('/etc/**:ro') }, 'no longer does'],
  [{}, { connect: mayGrant('tcp:10.0.0.1:1') }, 'lets connect tcp:10.0.0.1:1 be granted'],
  [{ connect: mayGrant('tcp:10.0.0.0/8:1') }, { connect: grant('tcp:10.0.0.1:1') }, 'running grants connect'],
  [{ open: [...grant('/etc/**'), ...refuse('/etc/shadow')] }, { open: mayGrant('/etc/**') }, 'no longer does'],
])('a stage that grants more is a problem: %j then %j', (start, running, words) => {
  const found = problems(start, running);
  expect(found).toHaveLength(1);
  expect(found[0]).toContain(words);
});

test('a grant at launch that begins in a later stage only would widen it', () => {
  const qemu = loadProfile('qemu', { arch: 'x86_64' });
  const late = withGrants(qemu, [{ request: 'connect', target: 'tcp:127.0.0.1:1', fromStage: 'running' }]);
  expect(proveTightening(late)).toMatchObject([{ code: 'broker-loosens', file: '--allow' }]);
  expect(proveTightening(withGrants(qemu, [{ request: 'connect', target: 'tcp:127.0.0.1:1' }]))).toEqual([]);
});
