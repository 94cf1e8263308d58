// SPDX-License-Identifier: Apache-2.0
// `ratchet ctl PATH exec`: the program's streams are the command's, its status too, and it ends with whoever leaves first.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { packagePath } from '../../native/package-path.ts';
import { scratch } from '../brokers/rig.ts';
import { Pinned, waitFor } from '../launch/processes.ts';
import { profileWith } from '../launch/programs-profile.ts';
import { buildProgram } from '../native/build-program.ts';
import { bareArguments } from '../qemu/unsandboxed.ts';

const main = packagePath('dist/core/cli/main.js');
const folder = scratch();
const control = `${folder.path}/vm.ctl`;
let launcher: ReturnType<typeof spawn>;

beforeAll(async () => {
  const programs = {
    copy: { path: '/bin/cat', 'at-once': 4 },
    unpack: { path: '/usr/bin/gzip', args: ['-dc'] },
    deaf: { path: buildProgram('deaf', 'test/control/programs') },
  };
  writeFileSync(`${folder.path}/vm.yaml`, JSON.stringify(profileWith(programs)));
  launcher = spawn(
    process.execPath,
    [
      ...[main, 'run', '--profile', `${folder.path}/vm.yaml`, '--allow', 'exec=copy', '--allow', 'exec=unpack'],
      ...['--allow', 'exec=deaf'],
      ...['--control', control, '--', 'qemu-system-x86_64', ...bareArguments],
    ],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  await waitFor('the control socket', () => existsSync(control));
});

afterAll(async () => {
  if (launcher.exitCode === null && launcher.signalCode === null) {
    const ended = once(launcher, 'exit');
    launcher.kill('SIGTERM');
    await ended;
  }
  folder[Symbol.dispose]();
});

function ctl(...args: readonly string[]) {
  const child = spawn(process.execPath, [main, 'ctl', control, ...args], { stdio: 'pipe' });
  const ended = once(child, 'close').then(([code]) => code as number);
  return { child, ended, stdout: child.stdout as Readable, stdin: child.stdin as Writable };
}

test('passes megabytes on in both directions, with their end', async () => {
  const { stdin, stdout, ended } = ctl('exec', 'copy');
  const sent = Buffer.from(Array.from({ length: 3_000_000 }, (_, index) => index % 251));
  stdin.end(sent);
  expect((await buffer(stdout)).equals(sent)).toBe(true);
  expect(await ended).toBe(0);
});

test('has the status of the program, and of a refusal', async () => {
  const { stdin, ended } = ctl('exec', 'unpack');
  stdin.end('nonsense');
  expect(await ended).toBe(1);
  const refusal = ctl('exec', 'nothing');
  refusal.stdin.end();
  expect(await text(refusal.child.stderr as Readable)).toMatch(/exec nothing: refused .*exec: \[\{ grant/);
  expect(await refusal.ended).toBe(1);
});

async function running(): Promise<readonly number[]> {
  const status = ctl('status', '--json');
  const { programs } = JSON.parse(await text(status.stdout)) as { programs: { pid: number }[] };
  return programs.map(({ pid }) => pid);
}

test('that is left ends its program', async () => {
  const { child, ended } = ctl('exec', 'copy');
  await waitFor('it to run', async () => (await running()).length === 1);
  child.kill('SIGKILL');
  await ended;
  await waitFor('it to end', async () => (await running()).length === 0);
});

test.each([
  ['waits for the end of its input', (stdin: Writable) => stdin.end()],
  ['sends more than it reads', (stdin: Writable) => stdin.write(Buffer.alloc(4 << 20))],
])('that is left ends a program that never reads, while who left %s', async (_, use) => {
  const { child, ended, stdin } = ctl('exec', 'deaf');
  stdin.on('error', () => undefined);
  use(stdin);
  await waitFor('it to run', async () => (await running()).length === 1);
  child.kill('SIGKILL');
  await ended;
  await waitFor('it to end', async () => (await running()).length === 0);
});

test('ends with the launcher that is killed, and so does the program', async () => {
  const { ended } = ctl('exec', 'copy');
  const pid = await waitFor('it to run', async () => (await running())[0]);
  const program = new Pinned(pid);
  launcher.kill('SIGKILL');
  await program.ended;
  expect(await ended).toBe(1);
});
