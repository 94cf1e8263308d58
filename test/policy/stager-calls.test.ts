// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { stagerCalls } from '../../core/policy/dangerous.ts';
import { loadProfile } from '../../core/profile-files.ts';

const profile = (rule: object): object => ({
  version: 1,
  name: 'test',
  vmm: 'program',
  stages: { start: { why: 'all', syscalls: [{ ...rule, why: 'needed' }] } },
});

test.each([...stagerCalls])('%s cannot be brokered as a whole: nobody would answer the stager', (call) => {
  expect(() => loadProfile(profile({ broker: [call] }), { arch: 'x86_64' })).toThrow(
    expect.objectContaining({ message: expect.stringContaining(`${call} cannot be brokered as a whole`) }),
  );
});

test('sendmsg can be brokered with a condition', () => {
  const loaded = loadProfile(profile({ broker: ['sendmsg'], when: 'flags lacks MSG_NOSIGNAL' }), { arch: 'x86_64' });
  expect(loaded.stages).toHaveLength(1);
});
