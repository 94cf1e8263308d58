// SPDX-License-Identifier: Apache-2.0
// The protocol as its document describes it, spoken by a client in another language.
import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { expect, test } from 'vitest';
import { OwnedFd } from '../../core/owned-fd.ts';
import { profileOf } from './policy.ts';
import { spawnBroker } from './rig.ts';

async function ask(rules: readonly string[], words: readonly string[]): Promise<unknown> {
  const broker = spawnBroker(profileOf({ start: { rules } }));
  using channel = new OwnedFd(broker.channelFd);
  const client = spawn('python3', ['examples/broker_client.py', '3', ...words], {
    stdio: ['ignore', 'pipe', 'inherit', channel.fd],
  });
  let said = '';
  client.stdout?.on('data', (chunk) => {
    said += String(chunk);
  });
  const status = await new Promise((resolve) => client.on('close', resolve));
  channel.close();
  expect(await broker.exited).toMatchObject({ code: 0 });
  return { status, ...(JSON.parse(said) as object) };
}

test('a Python client gets a file, and hears why another is refused', async () => {
  expect(await ask(['open /dev/null'], ['open', '/dev/null', 'rw'])).toMatchObject({
    status: 0,
    stage: 'start',
    class: 'ok',
    fd: '/dev/null',
  });
  expect(await ask(['open /dev/null:ro'], ['open', '/dev/null', 'rw'])).toMatchObject({
    status: 1,
    class: 'denied',
    errno: 13,
    fix: expect.stringContaining('grant: ["/dev/null"]'),
    fd: null,
  });
});

test('a Python client gets a connection, and the status', async () => {
  const server = createServer((socket) => socket.on('error', () => undefined).resume());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const target = `tcp:127.0.0.1:${typeof address === 'object' ? address?.port : 0}`;
  expect(await ask([`connect ${target}`], ['connect', target])).toMatchObject({
    class: 'ok',
    fd: expect.stringMatching(/^socket:/),
  });
  expect(await ask(['open /dev/null'], ['status'])).toMatchObject({
    class: 'ok',
    value: { status: { stage: 'start', allowed: 0, grants: [{ target: '/dev/null' }] } },
  });
  server.close();
});
