// SPDX-License-Identifier: Apache-2.0
import { afterAll, describe, expect, test } from 'vitest';
import { lastKnownNr } from '../../core/tables/index.ts';
import { Folder, smallProfile } from './fixtures.ts';
import { ratchet } from './ratchet.ts';

const folder = new Folder();
afterAll(() => folder[Symbol.dispose]());
const small = folder.write('small.yaml', smallProfile);

interface Difference {
  readonly onlyInA: readonly string[];
  readonly onlyInB: readonly string[];
  readonly changed: readonly { syscall: string; a: string; b: string; example: string }[];
}

function diff(a: string, b: string): Difference & { readonly status: number | null } {
  const { status, stdout, stderr } = ratchet('diff', '--arch', 'x86_64', '--json', a, b);
  expect(stderr).toBe('');
  return { status, ...(JSON.parse(stdout) as Difference) };
}

describe('ratchet diff', () => {
  test('shows what one stage permits and another does not', () => {
    expect(diff(`${small}:start`, `${small}:running`)).toEqual({
      status: 1,
      onlyInA: ['openat'],
      onlyInB: [],
      changed: [
        {
          syscall: 'socket',
          a: 'ALLOW',
          b: 'ERRNO(97)',
          example: expect.stringMatching(/^socket\(arg0=0x2, arg1=0x1\)$/),
        },
        { syscall: 'openat', a: 'ALLOW', b: 'ERRNO(1)', example: 'openat()' },
      ],
    });
  });

  test('shows it the other way round', () => {
    const there = diff(`${small}:start`, `${small}:running`);
    const back = diff(`${small}:running`, `${small}:start`);
    expect(back).toMatchObject({ status: 1, onlyInA: there.onlyInB, onlyInB: there.onlyInA });
    expect(back.changed).toEqual(there.changed.map((one) => ({ ...one, a: one.b, b: one.a })));
  });

  test('prints a table for people', () => {
    const { status, stdout } = ratchet('diff', `${small}:start`, `${small}:running`);
    expect(status).toBe(1);
    expect(stdout).toContain('start lets through: openat\n');
    expect(stdout).toContain('running lets through: nothing\n');
    expect(stdout).toMatch(/^openat +ALLOW +ERRNO\(1\) +openat\(\)$/m);
  });

  test('shows each call of a run of numbers with its own number', () => {
    const { changed } = diff('qemu:start', 'qemu:running');
    expect(changed.length).toBeGreaterThan(20);
    for (const { syscall, example } of changed) expect(example.startsWith(`${syscall}(`)).toBe(true);
  });

  test('says that a stage is itself, and a program the stage that it was compiled from', () => {
    expect(diff(`${small}:running`, `${small}:running`)).toEqual({ status: 0, onlyInA: [], onlyInB: [], changed: [] });
    const program = folder.file('running.bpf');
    ratchet('compile', small, '--arch', 'x86_64', '--stage', 'running', '-o', program);
    expect(diff(program, `${small}:running`).status).toBe(0);
    expect(diff(program, `${small}:start`)).toMatchObject({ status: 1, onlyInA: [], onlyInB: ['openat'] });
    expect(ratchet('diff', '--arch', 'x86_64', program, `${small}:running`).stdout).toContain('decide alike');
  });

  test('shows what differs on foreign calls and unknown numbers', () => {
    const other = folder.write(
      'other.yaml',
      smallProfile
        .replace('foreign: kill-process', 'foreign: errno ENOSYS')
        .replace('unknown: errno ENOSYS', 'unknown: errno EPERM'),
    );
    const { status, onlyInA, onlyInB, changed } = diff(`${small}:start`, `${other}:start`);
    expect({ status, onlyInA, onlyInB }).toEqual({ status: 1, onlyInA: [], onlyInB: [] });
    expect(changed.map(({ syscall, a, b }) => [syscall, a, b])).toEqual([
      [`${lastKnownNr('x86_64') + 1}-1073741823`, 'ERRNO(38)', 'ERRNO(1)'],
      ['1073741824-2147483647', 'KILL_PROCESS', 'ERRNO(38)'],
      ['2147483648-3221225471', 'ERRNO(38)', 'ERRNO(1)'],
      ['3221225472-4294967295', 'KILL_PROCESS', 'ERRNO(38)'],
      ['other architectures', 'KILL_PROCESS', 'ERRNO(38)'],
    ]);
  });

  test.each([
    ['a stage that there is not', [`${small}:strat`, `${small}:start`], 'start, running'],
    ['no stage where there are several', [small, `${small}:start`], 'start, running'],
    ['a profile that is not there', [folder.file('none.yaml'), `${small}:start`], 'ENOENT'],
    ['one profile', [`${small}:start`], "missing required argument 'b'"],
    ['an unknown option', ['--deep', `${small}:start`, `${small}:running`], '--deep'],
  ])('is misuse with %s', (_, args, hint) => {
    expect(ratchet('diff', ...args)).toMatchObject({ status: 2, stdout: '', stderr: expect.stringContaining(hint) });
  });
});
