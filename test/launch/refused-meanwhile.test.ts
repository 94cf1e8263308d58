// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import type { SandboxEvent } from '../../core/launch/events.ts';
import { tellingRefusals } from '../../core/launch/refused-meanwhile.ts';
import { launchBare } from './bare.ts';

const folder = mkdtempSync(join(tmpdir(), 'ratchet-refused-'));
afterAll(() => rmSync(folder, { recursive: true }));

test("a command that fails for a missing feature names it, QEMU goes on, and other failures keep QEMU's words", {
  timeout: 60_000,
}, async () => {
  const filename = join(folder, 'image');
  writeFileSync(filename, Buffer.alloc(1 << 20));
  await using sandbox = await launchBare([], { allow: [{ request: 'open', target: filename }] });
  const events: SandboxEvent[] = [];
  const stop = sandbox.events.watch((event) => events.push(event));
  const node = { driver: 'file', 'node-name': 'disk', filename, aio: 'native', cache: { direct: true } };
  const add = (options: object) => () => sandbox.vmm.qmp.executeAny('blockdev-add', { ...node, ...options });

  await expect(tellingRefusals(sandbox, add({}))).rejects.toMatchObject({
    code: 'QMP_ERROR',
    message: expect.stringMatching(/native AIO.* - meanwhile the VMM was refused io_setup\(.*--feature aio-native$/),
  });
  expect(events).toContainEqual(expect.objectContaining({ type: 'refusal', features: ['aio-native'] }));

  await expect(tellingRefusals(sandbox, add({ driver: 'nonsense' }))).rejects.toMatchObject({
    message: expect.not.stringContaining('meanwhile'),
  });
  await tellingRefusals(sandbox, add({ aio: 'threads' }));
  expect(await sandbox.vmm.status()).toMatchObject({ running: true });
  stop();
});

test('the error of a launch names the feature that a VMM died without while it was set up', {
  timeout: 60_000,
}, async () => {
  const socket = join(folder, 'spice');
  const launching = launchBare(['-spice', `unix=on,addr=${socket},disable-ticketing=on`], {
    allow: [{ request: 'bind', target: `unix:${socket}` }],
  });
  await expect(launching).rejects.toMatchObject({
    code: 'VMM_EXITED',
    message: expect.stringMatching(/ - meanwhile the VMM was refused .*--feature spice( |$)/),
  });
});

test('the error of a launch blames no refusal for wrong arguments', { timeout: 60_000 }, async () => {
  await expect(launchBare(['-device', 'nonsense'])).rejects.toMatchObject({
    code: 'VMM_EXITED',
    message: expect.not.stringContaining('meanwhile'),
  });
});

test('a NIC on a socket is not added where QEMU could not receive on it, and the error names the feature', {
  timeout: 60_000,
}, async () => {
  const socket = join(folder, 'nic');
  await using peer = createServer().listen(socket);
  await once(peer, 'listening');
  await using sandbox = await launchBare([], { allow: [{ request: 'connect', target: `unix:${socket}` }] });
  await expect(sandbox.vmm.hotplug.addNic({ id: 'nic', connect: `unix:${socket}` })).rejects.toMatchObject({
    code: 'VMM_ARGUMENT_CONFLICT',
    next: expect.stringContaining('--feature nic-socket'),
  });
  expect(await sandbox.vmm.status()).toMatchObject({ running: true });
});
