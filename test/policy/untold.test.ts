// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { assertLaunchable, findUntold, parseProfile, withSoak } from '../../core/policy/index.ts';
import { loadProfile } from '../../core/profile-files.ts';

const none = () => {
  throw new Error('no includes here');
};

/** Line 8 is what the role says. */
function profile(role: string, { vmm = 'program', stage = '' } = {}) {
  const text = `version: 1
name: example
vmm: ${vmm}
stages:
  start: { syscalls: [{ allow: [read, futex, fstat, sendmsg], why: w }] }
  running:
    syscalls: [{ allow: [read, futex, fstat, sendmsg], why: w }${stage}]
    roles: { io: { why: w, ${role} } }
`;
  return parseProfile(text, { file: 'example.yaml', arch: 'x86_64', include: none });
}

describe('what a role refuses of the calls that are never notified for its sake', () => {
  it.each([
    ['by its remove', 'remove: [read]', ['read'], 37],
    ['by its keep', 'keep: [futex, fstat, sendmsg]', ['read'], 14],
    ['by a rule', 'syscalls: [{ refuse: [read], errno: EPERM, when: fd == 1, why: w }]', ['read'], 39],
    ['by a rule for the rest', 'syscalls: [{ allow: [read], when: fd == 1, why: w }]', ['read'], 14],
    ['though a process cannot live so', 'remove: [futex, sendmsg]', ['sendmsg', 'futex'], undefined],
  ])('is a problem at its place when it is refused %s', (_, role, calls, column) => {
    const given = profile(role);
    const found = findUntold(given);
    expect(found.map(({ message }) => /refuses (\w+),/.exec(message)?.[1])).toEqual(calls);
    for (const problem of found) {
      expect(problem).toMatchObject({ code: 'untold', file: 'example.yaml', line: 8 });
      expect(problem.message).toMatch(/^role io of stage running .*"untold: \[\w+\]" .*"quiet: true"/);
      if (column !== undefined) expect(problem.column).toBe(column);
    }
    expect(() => assertLaunchable(given)).toThrow(
      expect.objectContaining({
        code: 'PROFILE_INVALID',
        message: expect.stringMatching(/^example\.yaml:8:\d+: role io/),
      }),
    );
  });

  it.each([
    ['that are told', profile('remove: [fstat]')],
    ['that its role names', profile('remove: [read], untold: [read]')],
    ['that a rule refuses quietly', profile('syscalls: [{ refuse: [read], errno: EPERM, quiet: true, why: w }]')],
    ['that end the process', profile('syscalls: [{ kill-process: [read], why: w }]')],
    ['that its stage refuses as well', profile('default: errno EPERM')],
    ['in soak, where all is told', withSoak(profile('remove: [read]'), true)],
    ['of a process that confines itself', profile('remove: [read]', { vmm: 'none' })],
  ])('is none of calls %s', (_, given) => {
    expect(findUntold(given)).toEqual([]);
  });

  it('is named in the roles of QEMU, whatever features it has', () => {
    for (const arch of ['x86_64', 'aarch64', 'riscv64'] as const)
      expect(findUntold(loadProfile('qemu', { arch }))).toEqual([]);
    for (const feature of ['nbd', 'vhost-user', 'vfio', 'iothreads'])
      expect(findUntold(loadProfile('qemu', { arch: 'x86_64', features: [feature] }))).toEqual([]);
  });

  it('changes no program and names no call that is told', () => {
    expect(() => profile('remove: [fstat], untold: [fstat]')).toThrow(
      /example.yaml:8:\d+: "fstat" is no call that goes untold/,
    );
    const { stages } = profile('remove: [read], untold: [read]');
    expect(stages[1]?.roles).toEqual(profile('remove: [read]').stages[1]?.roles);
  });
});
