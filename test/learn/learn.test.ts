// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { parseAuditLine } from '../../core/learn/audit.ts';
import { propose } from '../../core/learn/proposal.ts';
import { proposalText } from '../../core/learn/proposal-text.ts';
import { Recording } from '../../core/learn/recording.ts';
import { parseStraceLine } from '../../core/learn/strace.ts';
import { parseProfile } from '../../core/policy/index.ts';
import type { ResolvedProfile, ResolvedStage } from '../../core/policy/types.ts';
import { smallProfile } from '../cli/fixtures.ts';

function load(text: string): ResolvedProfile {
  return parseProfile(text, { file: 'small.yaml', arch: 'x86_64', include: () => ({ text: '', file: '' }) });
}

const profile = load(smallProfile);

function learn(stage: 'start' | 'running', ...lines: readonly string[]) {
  const recording = new Recording(profile);
  for (const line of lines) {
    const call = parseStraceLine(line);
    if (call !== undefined) recording.add(call);
  }
  return propose(recording, profile, profile.stages.find(({ name }) => name === stage) as ResolvedStage);
}

describe('reading traces', () => {
  test.each([
    ['12 socket(0x1, 0x80001, 0) = 3', 12, 'socket', [1n, 0x80001n, 0n]],
    ['[pid    34] socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0) = 3', 34, 'socket', [1n, 0x80001n, 0n]],
    ['56 12:00:01.5 ioctl(7</dev/kvm>, KVM_RUN, 0 <unfinished ...>', 56, 'ioctl', [7n, 0xae80n, 0n]],
    [
      'openat(AT_FDCWD, "/a,b)\\"c", O_RDONLY|O_CLOEXEC) = 3',
      undefined,
      'openat',
      [2n ** 64n - 100n, undefined, 0x80000n],
    ],
    ['7 setsockopt(3, SOL_SOCKET, SO_REUSEADDR, [1], 4) = 0', 7, 'setsockopt', [3n, 1n, 2n, undefined, 4n]],
    ['7 mkdir("/x", 0755) = 0', 7, 'mkdir', [undefined, 0o755n]],
    ['7 pread(3, "", 0, NULL) = 0', 7, 'pread64', [3n, undefined, 0n, 0n]],
    ['7 getpid() = 7', 7, 'getpid', []],
  ])('%s', (line, tid, name, args) => {
    expect(parseStraceLine(line)).toEqual({ tid, at: undefined, name, args });
  });

  test('a line of strace -ttt says when', () => {
    expect(parseStraceLine('56 1700000000.250000 read(0x3, 0x7f, 0x10) = 0')).toMatchObject({
      tid: 56,
      at: 1700000000.25,
    });
  });

  test.each(['7 <... read resumed>"x", 1) = 1', '7 +++ exited with 0 +++', '7 --- SIGCHLD {si_signo=SIGCHLD} ---', ''])(
    '%s tells of no call',
    (line) => expect(parseStraceLine(line)).toBeUndefined(),
  );

  test('audit lines have a number and at most four arguments', () => {
    const seccomp =
      'type=SECCOMP msg=audit(1.2:3): auid=0 pid=77 comm="qemu" exe="/q" sig=0 arch=c000003e syscall=41 compat=0 ip=0x7f code=0x50000';
    expect(parseAuditLine(seccomp, 'x86_64')).toEqual({
      tid: 77,
      at: 1.2,
      name: 'socket',
      args: [undefined, undefined, undefined, undefined],
    });
    expect(parseAuditLine(`[ 1.0] audit: ${seccomp.replace('SECCOMP', '1326')}`, 'x86_64')?.name).toBe('socket');
    expect(
      parseAuditLine('type=SYSCALL arch=c000003e syscall=41 success=no a0=10 a1=3 a2=0 a3=0 pid=5', 'x86_64')?.args,
    ).toEqual([16n, 3n, 0n, 0n]);
    expect(parseAuditLine(seccomp, 'aarch64')).toBeUndefined();
    expect(parseAuditLine('type=AVC arch=c000003e syscall=41', 'x86_64')).toBeUndefined();
  });
});

describe('proposals', () => {
  test('are for calls that no rule speaks of, with arguments by name', () => {
    const { rules, refused, syscalls } = learn(
      'start',
      '1 read(0x3, 0x7f00, 0x10) = 1',
      '1 getpid() = 1',
      '2 getpid() = 1',
      '1 madvise(0x7f00, 0x1000, 0x4) = 0',
      '1 madvise(0x7f00, 0x1000, 0x8) = 0',
      '1 socket(0xa, 0x2, 0) = 5',
      '1 clone3(0x7f00, 0x58) = 9',
    );
    expect(rules).toEqual([
      { allow: ['getpid'], count: 2 },
      { allow: ['clone3'], count: 1 },
      { allow: ['madvise'], when: 'behavior in [MADV_DONTNEED, MADV_FREE]', count: 2 },
    ]);
    expect(refused).toEqual([
      {
        syscall: 'socket',
        count: 1,
        answer: 'errno EAFNOSUPPORT',
        rule: { file: 'small.yaml', line: 16, why: 'no other families' },
      },
    ]);
    expect(syscalls.find(({ syscall }) => syscall === 'getpid')).toMatchObject({
      count: 2,
      verdicts: { start: 'refused', running: 'refused' },
    });
  });

  test('tell what each stage says, and what was not exercised', () => {
    const { syscalls, rules, unseen } = learn(
      'running',
      '1 openat(0x3, 0x7f, 0) = 3',
      '1 connect(0x3, 0x7f, 0x10) = 0',
    );
    expect(Object.fromEntries(syscalls.map(({ syscall, verdicts }) => [syscall, verdicts]))).toEqual({
      openat: { start: 'allowed', running: 'refused' },
      connect: { start: 'brokered', running: 'brokered' },
    });
    expect(rules).toEqual([{ allow: ['openat'], when: 'flags == O_RDONLY', count: 1 }]);
    expect(unseen).toEqual(['read', 'socket', 'write']);
  });

  test('are none for what hangs on arguments that the recording does not tell', () => {
    expect(learn('start', '1 socket({}, {}, {}) = 3')).toMatchObject({
      rules: [],
      refused: [],
      syscalls: [{ syscall: 'socket', verdicts: { start: 'some' } }],
    });
  });

  test('do not load until somebody has written their reasons', () => {
    const text = proposalText(learn('start', '1 getpid() = 1', '1 clone3(0x7f00, 0x58) = 9'), 'trace', 'small.yaml');
    expect(text).toContain('Seen once only, so others like it may be missing: clone3 getpid.');
    const pasted = smallProfile.replace(
      '    syscalls:\n',
      `    syscalls:\n${text.slice(text.indexOf('  - allow')).trimEnd().replace(/^/gm, '    ')}\n`,
    );
    expect(() => load(pasted)).toThrowError(
      expect.objectContaining({
        problems: [
          expect.objectContaining({ code: 'unreviewed', message: expect.stringContaining('"why"') }),
          expect.objectContaining({ code: 'unreviewed' }),
          expect.objectContaining({ code: 'unreviewed', message: expect.stringContaining('"risk"') }),
        ],
      }),
    );
    expect(load(pasted.replaceAll('TODO: ', 'reviewed: ')).stages).toHaveLength(2);
  });
});
