// SPDX-License-Identifier: Apache-2.0
// A VM goes on when whoever started it has ended, and is found again by its control socket.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { attach } from '../../core/control/attach.ts';
import { packagePath } from '../../native/package-path.ts';
import { scratch } from '../brokers/rig.ts';
import { waitFor } from '../launch/processes.ts';
import { bareArguments } from '../qemu/unsandboxed.ts';

const ratchet = [packagePath('dist/core/cli/main.js'), 'run'];

test('a detached launcher is attached to: status, a later stage, events and the end', async () => {
  using folder = scratch();
  const control = `${folder.path}/vm.ctl`;
  // Returns, and so the process that started the VM is gone.
  const said = execFileSync(
    process.execPath,
    [...ratchet, '--detach', '--control', control, '--', 'qemu-system-x86_64', ...bareArguments],
    {
      encoding: 'utf8',
      timeout: 60_000,
    },
  );
  expect(said).toMatch(/^launcher pid \d+, qemu-system-x86_64 pid \d+, stage running/);
  const sandbox = await attach(control);
  const { pid, broker } = await sandbox.status();
  expect(said).toContain(`pid ${pid},`);
  expect(broker.alive).toBe(true);
  const events = sandbox.events();
  const first = events.next();
  // Another one comes, as after a restart of whoever manages it.
  const again = await attach(control);
  expect(await again.enter('sealed')).toMatchObject({ ok: true, stage: 'sealed' });
  expect((await first).value).toHaveProperty('type');
  await again.request('quit');
  await waitFor('the socket to go', () => !existsSync(control));
  await expect(attach(control)).rejects.toMatchObject({ code: 'CONTROL_FAILED', errno: 'ENOENT' });
  await events.return(undefined);
});

test('a launch that fails is told with its status, and without a control socket there is no detaching', () => {
  using folder = scratch();
  const control = `${folder.path}/vm.ctl`;
  const run = (...args: readonly string[]) =>
    spawnSync(process.execPath, [...ratchet, ...args], { encoding: 'utf8', timeout: 60_000 });
  expect(run('--detach', '--control', control, '--', '/nowhere/qemu-system-x86_64').status).toBeGreaterThan(0);
  expect(readFileSync(`${control}.log`, 'utf8')).toContain('/nowhere/qemu-system-x86_64');
  expect(run('--detach', '--', 'qemu-system-x86_64')).toMatchObject({
    status: 2,
    stderr: expect.stringContaining('--control'),
  });
});
