// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { tellingRefusals } from '../../core/control/refused-meanwhile.ts';
import type { SandboxEvent } from '../../core/launch/events.ts';
import { launchBare } from '../launch/bare.ts';

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
