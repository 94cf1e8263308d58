// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { afterAll, describe, expect, test } from 'vitest';
import { packagePath } from '../../native/package-path.ts';
import { Folder, smallProfile } from './fixtures.ts';
import { ratchet } from './ratchet.ts';

const folder = new Folder();
afterAll(() => folder[Symbol.dispose]());
const small = folder.write('small.yaml', smallProfile);
const trace = folder.write('trace', '1 read(0x3, 0x7f, 0x10) = 1\n1 getpid() = 1\n1 madvise(0x7f, 0x1000, 0x4) = 0\n');

describe('ratchet learn', () => {
  test('proposes rules for a recording, which check refuses until they were reviewed', () => {
    const { status, stdout, stderr } = ratchet(
      'learn',
      '--from',
      'strace',
      '--arch',
      'x86_64',
      '--profile',
      small,
      trace,
    );
    expect(status).toBe(1);
    expect(stderr).toMatch(/^getpid +1 +refused +refused$/m);
    expect(stderr).toContain('2 rules proposed for stage start; nothing was changed');
    expect(stdout).toContain('when: behavior == MADV_DONTNEED');
    const rules = stdout.slice(stdout.indexOf('  - allow')).replace(/^/gm, '    ');
    const pasted = folder.write('pasted.yaml', smallProfile.replace('    syscalls:\n', `    syscalls:\n${rules}\n`));
    const checked = ratchet('check', '--arch', 'x86_64', pasted);
    expect(checked.status).toBe(1);
    expect(checked.stdout).toMatch(/pasted\.yaml:\d+:\d+: this "why" is still to be written/);
    expect(readFileSync(small, 'utf8')).toBe(smallProfile);
  });

  test('has nothing to review where everything is permitted, and writes counts that compile takes', () => {
    const calm = folder.write('calm', '1 read(0x3, 0x7f, 0x10) = 1\n1 socket(AF_UNIX, SOCK_STREAM, 0) = 3\n');
    const counts = folder.file('small.counts.json');
    const { status, stdout } = ratchet(
      'learn',
      '--from',
      'strace',
      '--arch',
      'x86_64',
      '--profile',
      small,
      '--counts',
      counts,
      '--json',
      calm,
    );
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      profile: 'small',
      stage: 'start',
      calls: 2,
      threads: 1,
      rules: [],
      refused: [],
    });
    expect(JSON.parse(readFileSync(counts, 'utf8'))).toMatchObject({
      syscalls: { read: { count: 1 }, socket: { count: 1 } },
    });
    expect(ratchet('compile', small, '--arch', 'x86_64', '--stage', 'start', '-o', folder.file('tuned')).status).toBe(
      0,
    );
  });

  test('runs a program under strace, and keeps its output apart from the proposal', () => {
    const { status, stdout, stderr } = ratchet('learn', '--profile', small, '--', 'sh', '-c', 'echo hello; exit 3');
    expect(status).toBe(1);
    expect(stderr).toContain('hello\n');
    expect(stdout).not.toContain('hello');
    expect(stdout).toContain('one run of sh under strace, outside of any sandbox, which ended with status 3');
    expect(stdout).toMatch(/allow:\n(?: +- \w+\n)* +- close\n/);
  });

  test('says what to install where there is no strace', () => {
    const args = [packagePath('dist/core/cli/main.js'), 'learn', '--profile', small, '--', 'true'];
    const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', env: { PATH: folder.path } });
    expect(status).toBe(1);
    expect(stderr).toContain('install the package strace');
  });

  test.each([
    ['nothing to learn from', [], '--from strace FILE'],
    ['a kind of recording that there is not', ['--from', 'bpftrace', trace], 'strace or audit'],
    ['a recording that is not there', ['--from', 'strace', folder.file('none')], 'ENOENT'],
    ['a recording without calls', ['--from', 'audit', trace], 'no system call'],
    ['two recordings', ['--from', 'strace', trace, trace], 'one file'],
    ['a stage that there is not', ['--from', 'strace', '--stage', 'strat', trace], 'start, running'],
    ['an unknown option', ['--enforce', '--from', 'strace', trace], '--enforce'],
  ])('is misuse with %s', (_, args, hint) => {
    expect(ratchet('learn', '--profile', small, ...args)).toMatchObject({
      status: 2,
      stdout: '',
      stderr: expect.stringContaining(hint),
    });
  });
});
