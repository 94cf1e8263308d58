// SPDX-License-Identifier: Apache-2.0
// Builds with AddressSanitizer and UndefinedBehaviorSanitizer: the system call layer, and the stager's reading of its command line.

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { beforeAll, expect, it } from 'vitest';
import { packagePath } from '../../native/package-path.ts';

const sanitizers = ['-fsanitize=address,undefined', '-fno-sanitize-recover=all', '-fno-omit-frame-pointer'];

const sysCheck = packagePath('build/test/sys-check');
const stager = packagePath('build/test/stager-sanitized');

// Without warnings: the real build has them as errors, and with sanitizers g++ sees ones that are not there.
function compile(output: string, sources: readonly string[]): void {
  const flags = ['-std=c++20', '-g', '-O1', ...sanitizers, '-D_GNU_SOURCE', `-I${packagePath('native')}`];
  execFileSync('g++', [...flags, '-o', output, ...sources.map(packagePath)], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
}

beforeAll(() => {
  mkdirSync(packagePath('build/test'), { recursive: true });
  const names =
    'call_door each_thread file_thread files flow flow_trail listener messages processes request_door self sockets';
  const layer = names.split(' ').map((name) => `native/sys/${name}.cc`);
  compile(sysCheck, ['test/native/programs/sys-check.cc', ...layer]);
  compile(
    stager,
    readdirSync(packagePath('native/stager'))
      .filter((name) => name.endsWith('.cc'))
      .map((name) => `native/stager/${name}`),
  );
});

it('the system call layer holds against hostile messages, and leaks nothing', () => {
  const { status, stdout, stderr } = spawnSync(sysCheck, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 30_000,
  });
  expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: 'ok\n', stderr: '' });
});

it.each([
  [['--keep', Array.from({ length: 256 }, (_, index) => 300 - index).join(',')], 'missing: --status-fd'],
  [['--keep', Array.from({ length: 257 }, (_, index) => 300 - index).join(',')], '--keep: too many'],
  [['--keep', '9'.repeat(400)], '--keep: 9'],
  [['--rlimit', `CORE=${'9'.repeat(40)}:1`], '--rlimit: CORE=9'],
  [['--rlimit', 'CORE=18446744073709551615:18446744073709551615'], '--rlimit'],
  [['--rlimit', 'CORE=unlimitedx:1'], '--rlimit'],
  [['--rlimit', '=1:1'], '--rlimit'],
  [['--rlimit', ''], '--rlimit'],
  [['x'.repeat(5000)], 'unknown, or without its value: xxx'],
  [['x'.repeat(5000), 'y'], 'unknown option: xxx'],
  [['--status-fd'], 'unknown, or without its value: --status-fd'],
  [['--'], 'missing: --status-fd'],
  [[], 'missing: --status-fd'],
])('the stager refuses its command line cleanly (%#)', (args, message) => {
  const { status, stderr } = spawnSync(stager, args, { encoding: 'utf8' });
  expect(stderr).toContain(message);
  expect(stderr).not.toMatch(/Sanitizer|runtime error/);
  expect(status).toBe(127);
});

it('the stager takes all of its limits', () => {
  const names =
    'AS CORE CPU DATA FSIZE LOCKS MEMLOCK MSGQUEUE NICE NOFILE NPROC RSS RTPRIO RTTIME STACK SIGPENDING'.split(' ');
  const limits = names.flatMap((name) => ['--rlimit', `${name}=0:unlimited`]);
  const { stderr } = spawnSync(stager, limits, { encoding: 'utf8' });
  expect(stderr).toContain('missing: --status-fd');
});
