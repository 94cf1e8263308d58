// SPDX-License-Identifier: Apache-2.0
import { afterAll, describe, expect, test } from 'vitest';
import { Folder, smallProfile } from './fixtures.ts';
import { ratchet } from './ratchet.ts';

const folder = new Folder();
afterAll(() => folder[Symbol.dispose]());
const small = folder.write('small.yaml', smallProfile);

function explain(stage: string, ...args: readonly string[]): Record<string, unknown> {
  const { status, stdout, stderr } = ratchet('explain', small, '--arch', 'x86_64', '--stage', stage, '--json', ...args);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return JSON.parse(stdout) as Record<string, unknown>;
}

const where = (line: number, why: string) => ({ file: small, line, why });

describe('ratchet explain', () => {
  test('names the action, the rule, its place and its reason', () => {
    expect(explain('start', 'openat')).toEqual({
      syscall: 'openat',
      nr: 257,
      arch: 'x86_64',
      stage: 'start',
      role: null,
      action: 'allow',
      errno: null,
      conditional: false,
      rule: where(11, 'data and files'),
      instructions: expect.any(Number),
      differsIn: [{ stage: 'running', action: 'errno', errno: 'EPERM', conditional: false }],
    });
  });

  test('says so when no rule names the call', () => {
    expect(explain('running', 'openat')).toMatchObject({
      action: 'errno',
      errno: 'EPERM',
      conditional: false,
      rule: null,
    });
    const { stdout } = ratchet('explain', small, '--stage', 'running', 'openat');
    expect(stdout).toContain('errno EPERM');
    expect(stdout).toContain('the default decides');
    expect(stdout).toContain('in start: allow');
  });

  test('names brokered calls', () => {
    expect(explain('running', 'connect')).toMatchObject({ action: 'broker', errno: null, conditional: false });
  });

  test('takes numbers, also of calls that are not known', () => {
    expect(explain('start', '257')).toMatchObject({ syscall: 'openat', nr: 257, action: 'allow' });
    expect(explain('start', '9999')).toMatchObject({ nr: 9999, action: 'errno', errno: 'ENOSYS', rule: null });
  });

  test('lists the cases, as they are written, when the answer depends on arguments that are not given', () => {
    expect(explain('start', 'socket')).toMatchObject({
      action: 'allow',
      conditional: true,
      rule: where(13, 'backends'),
      cases: [
        {
          when: 'domain in [AF_UNIX, AF_INET] and type == SOCK_STREAM',
          action: 'allow',
          errno: null,
          rule: where(13, 'backends'),
        },
        { when: 'otherwise', action: 'errno', errno: 'EAFNOSUPPORT', rule: where(16, 'no other families') },
      ],
    });
    // The other stage's answer depends on arguments too, and not in the same way.
    expect(explain('start', 'socket')).toMatchObject({ differsIn: [{ stage: 'running', conditional: true }] });
    const { stdout } = ratchet('explain', small, '--stage', 'start', 'socket');
    expect(stdout).toContain('depends on its arguments');
    expect(stdout).toContain('allow when domain in [AF_UNIX, AF_INET] and type == SOCK_STREAM');
    expect(stdout).toContain(`${small}:16: no other families`);
  });

  test('leaves out what the given arguments have decided', () => {
    expect(explain('start', 'socket', 'domain=AF_INET')).toMatchObject({
      conditional: true,
      cases: [
        { when: 'type == SOCK_STREAM', action: 'allow' },
        { when: 'otherwise', action: 'errno' },
      ],
    });
  });

  test('decides when the given arguments suffice', () => {
    expect(explain('start', 'socket', 'domain=AF_INET', 'type=SOCK_STREAM')).toMatchObject({
      action: 'allow',
      conditional: false,
      rule: where(13, 'backends'),
      instructions: expect.any(Number),
      differsIn: [{ stage: 'running', action: 'errno', errno: 'EAFNOSUPPORT', conditional: false }],
    });
    expect(explain('start', 'socket', 'domain=AF_INET', 'type=SOCK_STREAM').cases).toBeUndefined();
    expect(explain('start', 'socket', 'arg0=16')).toMatchObject({
      action: 'errno',
      errno: 'EAFNOSUPPORT',
      conditional: false,
    });
    expect(explain('running', 'socket', 'domain=AF_UNIX', 'type=1')).toMatchObject({ action: 'allow', differsIn: [] });
  });

  test('knows the numbers of other architectures', () => {
    const { stdout } = ratchet('explain', small, '--arch', 'aarch64', '--stage', 'start', '--json', 'openat');
    expect(JSON.parse(stdout)).toMatchObject({ nr: 56, arch: 'aarch64', action: 'allow' });
  });

  test('counts what a stage leaves open', () => {
    expect(explain('start', '--summary')).toEqual({
      stage: 'start',
      role: null,
      arch: 'x86_64',
      allowed: 4,
      conditional: 1,
      brokered: 1,
      names: ['connect', 'openat', 'read', 'socket', 'write'],
    });
    expect(explain('running', '--summary')).toMatchObject({
      allowed: 3,
      names: ['connect', 'read', 'socket', 'write'],
    });
    expect(ratchet('explain', small, '--stage', 'running', '--summary').stdout).toContain('3 system calls allowed');
  });

  test('agrees with the shipped profile on what a running QEMU may not do', () => {
    const answer = (...args: readonly string[]): unknown =>
      JSON.parse(ratchet('explain', 'qemu', '--arch', 'x86_64', '--stage', 'running', '--json', ...args).stdout);
    expect(answer('connect')).toMatchObject({ action: 'broker', rule: { file: expect.stringMatching(/^profiles\//) } });
    expect(answer('ptrace')).toMatchObject({ action: 'kill-process' });
    expect(answer('io_uring_setup')).toMatchObject({ action: 'errno', errno: 'ENOSYS' });
    expect(answer('execve')).toMatchObject({ action: 'errno', errno: 'EACCES' });
  });

  test('answers for a program by what it computes, with the instructions on the way', () => {
    const program = folder.file('start.bpf');
    ratchet('compile', small, '--arch', 'x86_64', '--stage', 'start', '-o', program);
    const ask = (...args: readonly string[]): Record<string, unknown> =>
      JSON.parse(ratchet('explain', program, '--arch', 'x86_64', '--json', ...args).stdout) as Record<string, unknown>;
    expect(ask('openat')).toMatchObject({
      syscall: 'openat',
      stage: null,
      action: 'allow',
      conditional: false,
      rule: null,
    });
    expect(ask('dup')).toMatchObject({ action: 'errno', errno: 'EPERM' });
    expect(ask('socket')).toMatchObject({
      conditional: true,
      cases: [
        { when: 'domain in [AF_UNIX, AF_INET] and type == SOCK_STREAM', action: 'allow' },
        { when: 'otherwise', action: 'errno', errno: 'EAFNOSUPPORT' },
      ],
    });
    expect(ask('socket', 'domain=AF_INET6')).toMatchObject({
      conditional: false,
      action: 'errno',
      errno: 'EAFNOSUPPORT',
    });
    const { instructions, listing } = ask('openat') as { instructions: number; listing: readonly string[] };
    expect(listing).toHaveLength(instructions);
    expect(listing.at(-1)).toContain('return ALLOW');
    expect(ratchet('explain', program, '--arch', 'x86_64').stdout).toMatch(/257 \(openat\)/);
    expect(ratchet('explain', program, '--stage', 'start', 'openat')).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('has no --stage'),
    });
  });

  test.each([
    ['a misspelt call', ['--stage', 'start', 'opneat'], 'did you mean "openat"?'],
    ['a number that no call can have', ['--stage', 'start', '99999999999'], 'no system call'],
    ['a misspelt stage', ['--stage', 'strat', 'openat'], 'start, running'],
    ['no stage where there are several', ['openat'], 'start, running'],
    ['a misspelt argument', ['--stage', 'start', 'socket', 'domian=AF_INET'], 'did you mean "domain"?'],
    ['a misspelt constant', ['--stage', 'start', 'socket', 'domain=AF_INETT'], 'did you mean "AF_INET"?'],
    ['an argument without a value', ['--stage', 'start', 'socket', 'domain'], 'NAME=VALUE'],
    ['a condition for a value', ['--stage', 'start', 'socket', 'domain=AF_INET or domain == AF_UNIX'], 'not a value'],
    ['an argument given twice', ['--stage', 'start', 'socket', 'domain=1', 'domain=2'], 'given twice'],
    ['a role that there is not', ['--stage', 'start', '--role', 'vcpu', 'read'], 'role vcpu'],
    ['an architecture that there is not', ['--stage', 'start', '--arch', 'arm', 'read'], 'aarch64'],
    ['a feature that there is not', ['--stage', 'start', '--feature', 'usb', 'read'], 'usb'],
    ['no call', ['--stage', 'start'], '--summary'],
    ['a call and a summary', ['--stage', 'start', '--summary', 'read'], '--summary'],
    ['an unknown option', ['--stage', 'start', '--verbose', 'read'], '--verbose'],
  ])('is misuse with %s', (_, args, hint) => {
    expect(ratchet('explain', small, ...args)).toMatchObject({
      status: 2,
      stdout: '',
      stderr: expect.stringContaining(hint),
    });
  });

  test('is misuse with a profile that is not there', () => {
    expect(ratchet('explain', folder.file('none.yaml'), 'read')).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('ENOENT'),
    });
  });
});
