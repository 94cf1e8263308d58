// SPDX-License-Identifier: Apache-2.0
import { afterAll, describe, expect, test } from 'vitest';
import { dockerProfile, Folder, looseProfile, smallProfile, wrongProfile } from './fixtures.ts';
import { ratchet } from './ratchet.ts';

const folder = new Folder();
afterAll(() => folder[Symbol.dispose]());
const small = folder.write('small.yaml', smallProfile);
const wrong = folder.write('wrong.yaml', wrongProfile);
const loose = folder.write('loose.yaml', looseProfile);

interface CheckResult {
  readonly ok: boolean;
  readonly problems: readonly { file: string; line: number; column: number; code: string; message: string }[];
}

function check(...args: readonly string[]): CheckResult & { readonly status: number | null } {
  const { status, stdout, stderr } = ratchet('check', '--json', ...args);
  expect(stderr).toBe('');
  return { status, ...(JSON.parse(stdout) as CheckResult) };
}

function lineOf(text: string, part: string): number {
  return text.slice(0, text.indexOf(part)).split('\n').length;
}

describe('ratchet check', () => {
  test('finds nothing wrong with a profile that only tightens', () => {
    expect(check(small)).toEqual({ status: 0, ok: true, problems: [] });
    const { status, stdout } = ratchet('check', small, 'qemu');
    expect(status).toBe(0);
    expect(stdout).toMatch(/small\.yaml: ok, 2 stages.*start \(\d+ instructions\), running \(\d+ instructions?\)\n/);
    expect(stdout).toMatch(/^qemu: ok, 3 stages/m);
  });

  test('finds nothing wrong with the shipped profile on any architecture', () => {
    for (const arch of ['x86_64', 'aarch64', 'riscv64']) expect(check('--arch', arch, 'qemu').ok).toBe(true);
  });

  test('finds where a role refuses what nobody would be told of', () => {
    const text = `version: 1
name: silent
vmm: program
stages:
  start: { syscalls: [{ allow: [read], why: w }] }
  running:
    from: start
    roles:
      io:
        why: w
        remove: [read]
`;
    const silent = folder.write('silent.yaml', text);
    expect(check(silent)).toMatchObject({
      status: 1,
      ok: false,
      problems: [
        { file: silent, line: 11, column: 18, code: 'untold', message: expect.stringContaining('untold: [read]') },
      ],
    });
    const said = folder.write('said.yaml', `${text}        untold: [read]\n`);
    expect(check(said)).toEqual({ status: 0, ok: true, problems: [] });
  });

  test('shows every mistake of a profile, where it is and what was meant', () => {
    const { status, ok, problems } = check(wrong);
    expect({ status, ok }).toEqual({ status: 1, ok: false });
    expect(problems).toEqual([
      {
        file: wrong,
        line: lineOf(wrongProfile, 'raed'),
        column: (wrongProfile.split('\n')[lineOf(wrongProfile, 'raed') - 1]?.indexOf('raed') as number) + 1,
        code: 'unknown-syscall',
        message: expect.stringContaining('did you mean "read"?'),
      },
      {
        file: wrong,
        line: lineOf(wrongProfile, 'EAFNOSUPORT'),
        column: 16,
        code: 'unknown-errno',
        message: expect.stringContaining('did you mean "EAFNOSUPPORT"?'),
      },
      {
        file: wrong,
        line: lineOf(wrongProfile, 'domian'),
        column: 15,
        code: 'unknown-argument',
        message: expect.stringContaining('did you mean "domain"?'),
      },
    ]);
    const plain = ratchet('check', wrong);
    expect(plain.status).toBe(1);
    for (const { line, column, message } of problems)
      expect(plain.stdout).toContain(`${wrong}:${line}:${column}: ${message}`);
  });

  test('refuses a stage that loosens, and names both stages', () => {
    const { status, ok, problems } = check(loose);
    expect({ status, ok }).toEqual({ status: 1, ok: false });
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatchObject({
      file: loose,
      line: lineOf(looseProfile, '- allow: [dup]'),
      code: 'stage-loosens',
      message: expect.stringMatching(
        /^stage running answers allow to dup\(.*which stage start answers with errno EPERM/,
      ),
    });
  });

  test('judges all files that are given together', () => {
    const { status, problems } = check(small, wrong, loose);
    expect(status).toBe(1);
    expect([...new Set(problems.map(({ file }) => file))]).toEqual([wrong, loose]);
  });

  test('takes what other tools wrote', () => {
    const { status, stdout, stderr } = ratchet('check', folder.write('docker.json', dockerProfile));
    expect({ status, stdout }).toMatchObject({ status: 0, stdout: expect.stringContaining('ok, 1 stage,') });
    expect(stderr).toContain('no_such_call');
  });

  test('is misuse with a file that is not there, an unknown option, architecture or feature, or no file', () => {
    expect(ratchet('check', folder.file('none.yaml'))).toMatchObject({
      status: 2,
      stdout: '',
      stderr: expect.stringContaining('ENOENT'),
    });
    expect(ratchet('check', 'qmeu')).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('did you mean "qemu"?'),
    });
    expect(ratchet('check', '--strict', small)).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('--strict'),
    });
    expect(ratchet('check', '--arch', 'arm', small)).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('aarch64'),
    });
    expect(ratchet('check').status).toBe(2);
  });
});
