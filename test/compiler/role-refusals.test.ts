// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { compileProfile } from '../../core/compiler/index.ts';
import { parseProfile } from '../../core/policy/index.ts';
import { auditArch, combineActions, describeAction, run } from '../../core/simulator/index.ts';
import { syscallNumber } from '../../core/tables/index.ts';

const text = `version: 1
name: roles
vmm: qemu
stages:
  start:
    default: errno EPERM
    syscalls:
      - allow: [read, openat, write]
        why: data
      - refuse: [bind]
        errno: EACCES
        why: refused aloud, so the first program leaves it to the supervisor
      - refuse: [socket]
        errno: EACCES
        when: domain == AF_INET
        why: aloud for some arguments
    roles:
      vcpu:
        why: whoever calls more than this has been taken over
        default: kill-process
        keep: [read]
      io:
        why: another errno than its stage
        default: errno ENOSYS
        keep: [read, socket]
`;

test.each([
  ['vcpu', 'bind', 0n, 'KILL_PROCESS'],
  ['vcpu', 'openat', 0n, 'KILL_PROCESS'],
  ['vcpu', 'mount', 0n, 'KILL_PROCESS'],
  ['vcpu', 'read', 0n, 'ALLOW'],
  // Refused aloud: the supervisor knows the roles, and tells of it.
  ['io', 'bind', 0n, 'USER_NOTIF'],
  ['io', 'openat', 0n, 'USER_NOTIF'],
  ['io', 'socket', 2n, 'USER_NOTIF'],
  ['io', 'mount', 0n, 'USER_NOTIF'],
  // But not where every thread would wait for it all the time.
  ['io', 'write', 0n, 'ERRNO(38)'],
] as const)('role %s is answered on %s(%i): %s', (role, name, first, answer) => {
  const profile = parseProfile(text, { file: 'roles.yaml', arch: 'x86_64', include: () => ({ text: '', file: '' }) });
  const [start] = compileProfile(profile).stages;
  const own = start?.roles[role];
  if (start === undefined || own === undefined) throw new Error('not compiled');
  const call = {
    nr: syscallNumber('x86_64', name) ?? -1,
    auditArch: auditArch.x86_64,
    args: [first, 0n, 0n, 0n, 0n, 0n] as const,
  };
  const [newer, older] = [own.program, start.program].map((program) => run(program, call).rawAction);
  expect(describeAction(combineActions(newer ?? 0, older ?? 0))).toBe(answer);
});
