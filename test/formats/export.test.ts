// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { type ExportFormat, exportFormats, exportStage } from '../../core/formats/export/index.ts';
import { importOci } from '../../core/formats/import/oci.ts';
import { evaluate, parseProfile } from '../../core/policy/index.ts';
import type { FilterPolicy } from '../../core/policy/types.ts';
import { loadProfile } from '../../core/profile-files.ts';
import { auditArch } from '../../core/simulator/index.ts';
import { syscallNumber } from '../../core/tables/index.ts';
import { diffPrograms } from '../../core/verifier/index.ts';

function parse(text: string): FilterPolicy {
  const options = { file: 'stage.yaml', arch: 'x86_64', include: () => ({ text: '', file: '' }) } as const;
  const filter = parseProfile(text, options).stages[0]?.filter;
  if (filter === undefined) throw new Error('no stage');
  return filter;
}

function stage(rules: string, head = 'default: errno EPERM', unknown = 'errno EPERM'): FilterPolicy {
  return parse(
    `version: 1\nname: one\nvmm: qemu\nstages:\n  start:\n    ${head}\n    unknown: ${unknown}\n    foreign: kill-process\n    syscalls:\n${rules}`,
  );
}

/** Every kind of test that a condition can make, without anything that asks a broker. */
const everything = stage(
  `
      - allow: [read, write]
        why: whole calls
      - log: [close]
        why: logged
      - trap: [dup]
        why: trapped
      - kill-process: [reboot]
        why: killed
      - allow: [socket]
        when: domain in [AF_UNIX, AF_INET] and type only SOCK_STREAM|SOCK_CLOEXEC and signed(protocol) >= 0
        why: sets, bits and signs
      - allow: [ioctl]
        when: cmd in 0x5401..0x5413 or cmd == TIOCGWINSZ or u64(cmd) == 0x1_0000
        why: ranges
      - allow: [mmap]
        when: len <= 0x1000_0000 and prot lacks PROT_EXEC and u64(fd) != 0xffff_ffff_ffff_ffff
        why: 64 bits
      - refuse: [mprotect]
        errno: EACCES
        when: prot has PROT_EXEC
        why: another errno for some arguments
`
    .replaceAll('_0000', '0000')
    .replaceAll('_ffff', 'ffff'),
);

function answer(filter: FilterPolicy, name: string, ...args: readonly bigint[]): string {
  const at = (index: number): bigint => args[index] ?? 0n;
  const nr = syscallNumber('x86_64', name) ?? -1;
  return evaluate(filter, { nr, auditArch: auditArch.x86_64, args: [at(0), at(1), at(2), at(3), at(4), at(5)] }).action
    .kind;
}

describe('exporting a stage', () => {
  test.each<ExportFormat>(['oci', 'spo', 'raw'])('to %s loses nothing where nobody is asked', (format) => {
    expect(exportStage(everything, { format, name: 'one' }).changed).toEqual([]);
  });

  test('to oci, and back, is the same filter', () => {
    const { document } = exportStage(everything, { format: 'oci', name: 'one' });
    const { profileText } = importOci(String(document), { file: 'one.json', arch: 'x86_64' });
    expect(diffPrograms(everything, parse(profileText), 'x86_64')).toEqual([]);
  });

  test('to oci makes one comparison an argument, and entries of the default action none', () => {
    const { document } = exportStage(everything, { format: 'oci', name: 'one' });
    const { syscalls, defaultAction } = JSON.parse(String(document)) as {
      defaultAction: string;
      syscalls: { names: string[]; action: string; errnoRet?: number; args?: { index: number }[] }[];
    };
    for (const { args = [], action, errnoRet } of syscalls) {
      expect(new Set(args.map(({ index }) => index)).size).toBe(args.length);
      expect(action === defaultAction && errnoRet === 1).toBe(false);
    }
  });

  test('to firecracker turns every refusal into the default one, and says so', () => {
    const { changed } = exportStage(everything, { format: 'firecracker', name: 'vmm' });
    expect(changed.map(({ stage: before, exported, calls }) => [before, exported, calls])).toEqual([
      ['LOG', 'ALLOW', ['close']],
      ['ERRNO(13) for some arguments', 'ERRNO(1)', ['mprotect']],
      ['TRAP', 'ERRNO(1)', ['dup']],
      ['KILL_PROCESS', 'ERRNO(1)', ['reboot']],
    ]);
  });

  test('to systemd keeps whole calls only, and tells of execve', () => {
    const { document, changed, notes } = exportStage(everything, { format: 'systemd', name: 'one' });
    expect(String(document)).toMatch(/^SystemCallFilter=close read write$/m);
    expect(String(document)).toMatch(/^SystemCallFilter=~.*\bmmap mprotect\b/m);
    expect(String(document)).not.toMatch(/=.*\bexecve\b/);
    expect(notes.join('\n')).toContain('execve is permitted');
    expect(changed).toContainEqual({
      stage: 'ALLOW for some arguments',
      exported: 'ERRNO(1)',
      calls: ['ioctl', 'mmap', 'socket'],
    });
  });

  test.each(exportFormats)('to %s refuses what a broker would decide, unless a listener is named', (format) => {
    const brokered = stage(
      '      - broker: [connect]\n        why: the broker judges\n      - allow: [read]\n        why: data\n',
    );
    const { changed } = exportStage(brokered, { format, name: 'one' });
    const expected = format === 'systemd' || format === 'firecracker' ? 'ERRNO(1)' : 'ERRNO(13)';
    expect(changed).toContainEqual({ stage: 'USER_NOTIF', exported: expected, calls: ['connect'] });
    if (format !== 'oci' && format !== 'spo') return;
    const notified = exportStage(brokered, { format, name: 'one', listenerPath: '/run/agent.sock' });
    expect(notified.changed).toEqual([]);
    expect(notified.document).toContain('/run/agent.sock');
  });

  test.each(exportFormats)('to %s never permits more than the shipped profile does', (format) => {
    // exportStage() itself refuses to return anything looser; what it reports must be the whole difference.
    for (const { filter } of loadProfile('qemu', { arch: 'aarch64' }).stages.slice(1, 2)) {
      const { changed } = exportStage(filter, { format, name: 'vmm' });
      expect(changed.find(({ stage: before }) => before === 'USER_NOTIF')?.calls).toContain('connect');
      const looser = changed.filter(({ exported }) => exported === 'ALLOW').flatMap(({ calls }) => calls);
      expect(looser).toEqual(format === 'systemd' ? ['execve'] : []);
    }
  });

  test('under a default that permits, what cannot be said is refused', () => {
    const open = stage(
      '      - refuse: [ptrace]\n        errno: EACCES\n        why: no tracing\n      - refuse: [socket]\n        errno: EACCES\n        when: domain != AF_UNIX\n        why: local only\n',
      'default: allow\n    risk: a deny-list',
      'allow',
    );
    for (const format of ['oci', 'firecracker'] as const) {
      const { changed } = exportStage(open, { format, name: 'one' });
      expect(changed.flatMap(({ exported }) => exported)).not.toContain('ALLOW');
    }
    const { changed } = exportStage(open, { format: 'systemd', name: 'one' });
    expect(changed).toContainEqual({ stage: 'ALLOW for some arguments', exported: 'ERRNO(1)', calls: ['socket'] });
    expect(answer(open, 'socket', 1n)).toBe('allow');
  });

  test('is refused where newer calls would be permitted that the stage refuses', () => {
    const open = stage(
      '      - refuse: [ptrace]\n        errno: EACCES\n        why: none\n',
      'default: allow\n    risk: a deny-list',
    );
    expect(() => exportStage(open, { format: 'oci', name: 'one' })).toThrowError(
      expect.objectContaining({ code: 'ARGUMENT_INVALID', message: expect.stringContaining('newer calls') }),
    );
    expect(exportStage(open, { format: 'raw', name: 'one' }).changed).toEqual([]);
  });
});
