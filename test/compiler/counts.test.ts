// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { addCounts, countCalls } from '../../core/compiler/count-calls.ts';
import { type CountsDocument, parseCounts, resolveCounts } from '../../core/compiler/counts.ts';
import { compileProfile } from '../../core/compiler/index.ts';
import { parseStraceLine } from '../../core/learn/strace.ts';
import { countsOption, loadCounts } from '../../core/profile-counts.ts';
import { loadProfile } from '../../core/profile-files.ts';

const document: CountsDocument = {
  version: 1,
  arch: 'x86_64',
  recorded: 'by hand',
  syscalls: {
    ioctl: { count: 9, arguments: { cmd: { KVM_RUN: 5, '0x5401': 3, '7': 1 } } },
    open: { count: 2 },
  },
};

describe('a counts file', () => {
  test('becomes counts by number and value', () => {
    const { counts } = resolveCounts(parseCounts(JSON.stringify(document), 'f'), 'x86_64', 'f');
    expect(counts.calls).toEqual(
      new Map([
        [16, 9],
        [2, 2],
      ]),
    );
    expect(counts.values.get(16)?.get(1)).toEqual(
      new Map([
        [0xae80n, 5],
        [0x5401n, 3],
        [7n, 1],
      ]),
    );
  });

  test('serves another architecture with the calls that it has', () => {
    expect([...resolveCounts(document, 'aarch64', 'f').counts.calls.keys()]).toEqual([29]);
  });

  test.each([
    ['{', /JSON/],
    ['{"version": 2}', /version/],
    [JSON.stringify({ ...document, extra: 1 }), /extra/],
    [JSON.stringify({ ...document, syscalls: { read: { count: -1 } } }), /syscalls.read.count/],
  ])('is refused: %s', (text, message) => {
    expect(() => parseCounts(text, 'name.counts.json')).toThrow(
      expect.objectContaining({ code: 'PROFILE_INVALID', message: expect.stringMatching(message) }),
    );
  });

  test.each([
    [{ raed: { count: 1 } }, 'there is no system call raed'],
    [{ ioctl: { count: 1, arguments: { colour: { '1': 1 } } } }, 'ioctl has no argument colour'],
    [{ ioctl: { count: 1, arguments: { cmd: { KVM_RAN: 1 } } } }, 'there is no constant KVM_RAN'],
  ])('is refused for unknown names: %j', (syscalls, message) => {
    expect(() => resolveCounts({ ...document, syscalls }, 'x86_64', 'f')).toThrow(message);
  });
});

describe('recorded calls', () => {
  const profile = loadProfile('qemu', { arch: 'x86_64' });

  test('keep the values that rules look at, by the names that the rules give them', () => {
    const lines = [
      '12 ioctl(0x5, 0xae80, 0) = 0',
      '12 ioctl(0x5, 0xae80 <unfinished ...>',
      '12 <... ioctl resumed>) = 0',
      '12 read(0x3, 0x7ffc, 0x10) = 0x10',
      '12 --- SIGUSR1 {si_signo=SIGUSR1} ---',
      '[pid    13] mmap(0, 0x1000, 0x3, 0x22, 0xffffffffffffffff, 0) = 0x7f00',
      '13 +++ exited with 0 +++',
    ];
    const calls = lines.flatMap((line) => parseStraceLine(line) ?? []);
    expect(calls.map(({ tid }) => tid)).toEqual([12, 12, 12, 13]);
    const { syscalls } = countCalls(calls, { profile, recorded: 'here' });
    expect(syscalls).toEqual({
      ioctl: { count: 2, arguments: { cmd: { KVM_RUN: 2 } } },
      mmap: { count: 1, arguments: { prot: { '3': 1 } } },
      read: { count: 1 },
    });
  });

  test('are told apart by the stage from which on they were made, and by role', () => {
    const call = (name: string, stage?: string, role?: string) => ({ name, args: [], stage, role });
    const calls = [
      call('read'),
      call('read', 'start'),
      call('read', 'running'),
      call('write', 'running', 'vcpu'),
      call('read', 'sealed'),
    ];
    const counted = countCalls(calls, { profile, recorded: 'here' });
    expect(counted).toMatchObject({
      syscalls: { read: { count: 4 }, write: { count: 1 } },
      stages: { running: { read: { count: 2 }, write: { count: 1 } }, sealed: { read: { count: 1 } } },
      roles: { vcpu: { write: { count: 1 } } },
    });
    expect(addCounts([counted, document, counted], 'thrice').stages?.running?.read?.count).toBe(4);
    const { stageCounts, roleCounts } = resolveCounts(counted, 'x86_64', 'f');
    expect(stageCounts.running?.calls.get(0)).toBe(2);
    expect(roleCounts.vcpu?.calls.get(1)).toBe(1);
  });

  test('add up', () => {
    expect(addCounts([document, document], 'twice').syscalls).toEqual({
      ioctl: { count: 18, arguments: { cmd: { KVM_RUN: 10, '0x5401': 6, '7': 2 } } },
      open: { count: 4 },
    });
  });

  test('come with the shipped profile, and its programs differ by them', () => {
    expect(loadCounts(profile)?.calls.get(271)).toBeGreaterThan(1000);
    expect(loadCounts({ file: '<object>', arch: 'x86_64' })).toBeUndefined();
    expect(loadCounts({ file: '/no/such.yaml', arch: 'x86_64' })).toBeUndefined();
    const [tuned] = compileProfile(profile, countsOption(profile)).stages;
    const [plain] = compileProfile(profile).stages;
    expect(Buffer.from(tuned?.program ?? []).equals(Buffer.from(plain?.program ?? []))).toBe(false);
  });
});
