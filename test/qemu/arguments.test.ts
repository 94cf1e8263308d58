// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { prepareArguments, withoutValue } from '../../core/qemu/arguments.ts';

const qmpFd = 7;
const monitor = ['-chardev', 'socket,id=ratchet-qmp,fd=7', '-mon', 'chardev=ratchet-qmp,mode=control'];

describe('the arguments of QEMU', () => {
  test('get our monitor and -S', () => {
    expect(prepareArguments(['-m', '64', 'disk.img'], { qmpFd })).toEqual({
      args: ['-m', '64', 'disk.img', ...monitor, '-S'],
      userPaused: false,
      incoming: undefined,
    });
  });

  test.each(['-S', '--S'])("keep the user's own %s", (pause) => {
    expect(prepareArguments([pause, '-m', '64'], { qmpFd })).toEqual({
      args: [pause, '-m', '64', ...monitor],
      userPaused: true,
      incoming: undefined,
    });
  });

  test('are read as QEMU reads them: the word after an option is its value, whatever it looks like', () => {
    const words = [
      '-name',
      '-S',
      '-append',
      '-daemonize',
      '-kernel',
      '--sandbox',
      '-',
      '-nodefaults',
      '-incoming',
      'defer',
    ];
    expect(prepareArguments(words, { qmpFd })).toMatchObject({ userPaused: false, incoming: 'defer' });
  });

  test.each([
    [['-daemonize'], 'background'],
    [['--daemonize'], 'background'],
    [['-runas', 'nobody'], 'user'],
    [['-chroot', '/'], 'profile'],
    [['-sandbox', 'on'], 'filter'],
    [['-sandbox', 'on,spawn=deny'], 'filter'],
    [['-sandbox', 'enable=on'], 'filter'],
    [['-preconfig'], 'preconfig'],
    [['-async-teardown'], 'clones'],
    [['-run-with', 'user=nobody'], 'leave it out'],
    [['-chardev', 'null,id=ratchet-qmp'], 'another id'],
  ])('%j conflicts, and the error says what to do', (words, cure) => {
    expect(() => prepareArguments(['-m', '64', ...words], { qmpFd })).toThrow(
      expect.objectContaining({
        code: 'VMM_ARGUMENT_CONFLICT',
        message: expect.stringContaining(words[0]?.replace('--', '-') ?? ''),
        next: expect.stringContaining(cure),
      }),
    );
  });

  test.each([[['-sandbox', 'off']], [['-sandbox', 'enable=off']], [['-chardev', 'null,id=other']]])(
    '%j is no conflict',
    (words) => {
      expect(prepareArguments(words, { qmpFd }).args.slice(0, 2)).toEqual(words);
    },
  );

  test('an option without its value is refused here, where it can be told', () => {
    expect(() => prepareArguments(['-m'], { qmpFd })).toThrow(expect.objectContaining({ code: 'ARGUMENT_INVALID' }));
  });

  test('the list of options without a value agrees with the installed QEMU on every option in its help', () => {
    const help = qemu(['-help']).stdout;
    const names = new Set([...help.matchAll(/^--?([A-Za-z][\w-]*)/gm)].map((match) => match[1] ?? ''));
    expect(names.size).toBeGreaterThan(100);
    const nonsense = '--no-such-option';
    // An option that takes a value swallows the nonsense, and QEMU prints its version or complains of that value.
    const found = [...names].filter((name) =>
      qemu([`-${name}`, nonsense, '-version']).stderr.includes(`${nonsense}: invalid option`),
    );
    expect(found.toSorted()).toEqual([...names].filter((name) => withoutValue.has(name)).toSorted());
  });
});

const folder = mkdtempSync(join(tmpdir(), 'ratchet-arguments-'));
afterAll(() => rmSync(folder, { recursive: true }));

function qemu(words: readonly string[]): { readonly stdout: string; readonly stderr: string } {
  // Some options take a file name and create it.
  return spawnSync('qemu-system-x86_64', words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], cwd: folder });
}
