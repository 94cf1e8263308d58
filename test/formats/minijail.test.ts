// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { importMinijail } from '../../core/formats/import/minijail.ts';
import { evaluate, parseProfile } from '../../core/policy/index.ts';
import type { Arch, FilterPolicy } from '../../core/policy/types.ts';
import { auditArchOf, syscallNumber } from '../../core/tables/index.ts';

function load(text: string, files: Readonly<Record<string, string>> = {}, arch: Arch = 'x86_64') {
  const include = (path: string) => {
    const found = files[path];
    if (found === undefined) throw new Error(`there is no ${path}`);
    return { text: found, file: path };
  };
  const { profileText, losses } = importMinijail(text, { file: 'net.policy', arch, include });
  const profile = parseProfile(profileText, { file: 'net.yaml', arch, include });
  const filter = profile.stages[0]?.filter;
  if (filter === undefined) throw new Error('no stage');
  return { filter, losses };
}

function answer(filter: FilterPolicy, call: string, ...args: readonly bigint[]): string {
  const at = (index: number): bigint => args[index] ?? 0n;
  const { action } = evaluate(filter, {
    nr: syscallNumber(filter.arch, call) ?? -1,
    auditArch: auditArchOf(filter.arch),
    args: [at(0), at(1), at(2), at(3), at(4), at(5)],
  });
  return action.kind === 'errno' ? `errno ${action.errno}` : action.kind;
}

// After crosvm's net_device.policy and common_device.policy.
const policy = `# Copyright
@include ./common.policy
@frequency ./net.frequency

# TUN devices
# and nothing else
ioctl: arg1 == TUNGETIFF || arg1 == 0x5451
mmap: arg2 in ~PROT_EXEC || \\
      arg2 in ~PROT_WRITE
prctl: arg0 == PR_SET_NAME && arg1 != 0; return EPERM
socket: arg0 == AF_UNIX; return EACCES
openat: return ENOENT
clone: arg0 & CLONE_THREAD
{dup, dup3}: 1
dup2[arch=x86_64]: 1
personality: trap
`;
const files = { './common.policy': 'read: 1\nwrite: allow # data\nexit_group: 1\n' };

describe('importing minijail policies', () => {
  test('takes over lines, includes, alternatives and returns', () => {
    const { filter } = load(policy, files);
    expect(
      ['read', 'write', 'dup', 'dup3', 'dup2', 'openat', 'personality', 'mount'].map((call) => answer(filter, call)),
    ).toEqual(['allow', 'allow', 'allow', 'allow', 'allow', 'errno 2', 'trap', 'kill-process']);
    expect([0x800454d2n, 0x5451n, 1n].map((request) => answer(filter, 'ioctl', 3n, request))).toEqual([
      'allow',
      'allow',
      'kill-process',
    ]);
    expect([3n, 5n, 7n].map((prot) => answer(filter, 'mmap', 0n, 1n, prot))).toEqual([
      'allow',
      'allow',
      'kill-process',
    ]);
    expect([
      answer(filter, 'prctl', 15n, 1n),
      answer(filter, 'prctl', 15n, 0n),
      answer(filter, 'prctl', 4n, 1n),
    ]).toEqual(['allow', 'errno 1', 'errno 1']);
    expect([answer(filter, 'socket', 1n), answer(filter, 'socket', 2n)]).toEqual(['allow', 'errno 13']);
    expect([answer(filter, 'clone', 0x10000n), answer(filter, 'clone', 0n)]).toEqual(['allow', 'kill-process']);
  });

  test('compares 64 bits as minijail does, and says so', () => {
    const { filter, losses } = load(policy, files);
    expect(answer(filter, 'socket', 0x1_0000_0001n)).toBe('errno 13');
    expect(losses.join('\n')).toContain('look at all 64 bits');
    expect(losses.join('\n')).toContain('net.policy:3: frequencies are not taken over');
    expect(losses.join('\n')).toContain('calls without a line kill the process');
  });

  test('keeps comments and places as reasons', () => {
    const { filter } = load(policy, files);
    const why = (name: string): string | undefined =>
      filter.syscalls.find((entry) => entry.name === name)?.rules[0]?.why;
    expect(why('ioctl')).toBe('TUN devices and nothing else (net.policy:7)');
    expect(why('write')).toBe('data (./common.policy:2)');
  });

  test('knows @default, other architectures, octal numbers and braces', () => {
    const { filter, losses } = load(
      '@default return ENOSYS\ndup2[arch=arm64]: 1\nioctl: { arg1 == 010, arg1 == 0x20 }\n',
    );
    expect([answer(filter, 'dup2'), answer(filter, 'read')]).toEqual(['errno 38', 'errno 38']);
    expect([8n, 32n, 10n].map((request) => answer(filter, 'ioctl', 3n, request))).toEqual([
      'allow',
      'allow',
      'errno 38',
    ]);
    expect(losses.filter((loss) => loss.includes('without a line'))).toEqual([]);
  });

  test('leaves out what it does not know, by file and line, on the strict side', () => {
    const { filter, losses } = load(
      'opneat: 1\nioctl: arg1 == TUN_WHAT; return EPERM\nfutex: user-notify\ngetpid: arg0 == 1\n',
    );
    expect([answer(filter, 'ioctl', 3n, 1n), answer(filter, 'futex'), answer(filter, 'getpid')]).toEqual([
      'errno 1',
      'kill-process',
      'kill-process',
    ]);
    expect(losses).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^net\.policy:1: opneat is no system call/),
        expect.stringMatching(/^net\.policy:2: ioctl: unknown constant "TUN_WHAT"/),
        expect.stringMatching(/^net\.policy:3: futex can never be brokered/),
        expect.stringMatching(/^net\.policy:4: getpid: getpid has no arg0/),
      ]),
    );
  });

  test.each([
    [
      'a call that has two lines',
      'read: 1\nread: arg0 == 1\n',
      'net.policy:2:1: read has a line already, at net.policy:1',
    ],
    ['a line that is none', 'read\n', 'net.policy:1:1: "read" is no line'],
    ['a test that is none', 'read: arg0 ~ 1\n', 'net.policy:1:1: read: "arg0 ~ 1" is no test'],
    ['an action that is none', 'read: arg0 == 1; explode\n', 'net.policy:1:1: "explode" is no action'],
    ['an errno that is none', 'read: return EWHAT\n', 'net.policy:1:1: "EWHAT" is no errno'],
    ['an unknown directive', '@deny all\n', 'net.policy:1:1: "@deny" is unknown'],
    ['a missing file', 'read: 1\n@include ./none\n', 'net.policy:2:1: cannot include "./none"'],
  ])('refuses %s', (_, text, says) => {
    expect(() => load(text)).toThrowError(
      expect.objectContaining({ code: 'PROFILE_INVALID', message: expect.stringContaining(says) }),
    );
  });

  test('refuses an include within an include', () => {
    expect(() => load('@include a\n', { a: '@include b\n' })).toThrowError(
      expect.objectContaining({ message: expect.stringContaining('a:1:1: an included file includes nothing itself') }),
    );
  });
});
