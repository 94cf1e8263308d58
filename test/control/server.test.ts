// SPDX-License-Identifier: Apache-2.0
// Whatever a client of the control socket does, the VM and the other clients do not notice.

import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { controlEvents, controlRequest } from '../../core/control/client.ts';
import { controlledSandbox } from '../../core/control/commands.ts';
import { bindControl, type ControlServer } from '../../core/control/server.ts';
import type { Sandbox } from '../../core/launch/sandbox.ts';
import { launchBare } from '../launch/bare.ts';
import { fdTable, waitFor } from '../launch/processes.ts';

const folder = mkdtempSync(join(tmpdir(), 'ratchet-control-'));
const path = join(folder, 'vm.ctl');
let server: ControlServer;
let sandbox: Sandbox;

beforeAll(async () => {
  server = await bindControl(path);
  const early = controlRequest(path, 'status');
  sandbox = await launchBare();
  server.serve(controlledSandbox(sandbox));
  // Asked before there was a VM.
  expect(await early).toMatchObject({ pid: sandbox.pid });
});
afterAll(async () => {
  await sandbox.close();
  await server.close();
  expect(existsSync(path)).toBe(false);
  rmSync(folder, { recursive: true });
});

async function open(): Promise<Socket> {
  const socket = connect(path);
  await once(socket, 'connect');
  return socket;
}

/** One line out, one line back, on a connection of its own. */
async function say(line: string): Promise<unknown> {
  const socket = await open();
  socket.write(`${line}\n`);
  const [answer] = (await once(socket, 'data')) as [Buffer];
  socket.destroy();
  return JSON.parse(answer.toString());
}

async function undisturbed(): Promise<void> {
  expect(await controlRequest(path, 'status')).toMatchObject({ pid: sandbox.pid, stage: 'running' });
  expect(await sandbox.vmm.status()).toMatchObject({ running: true });
}

describe('the control socket', () => {
  test('is mode 0600, and the umask is as before', () => {
    expect(statSync(path).mode & 0o7777).toBe(0o600);
    const mask = process.umask();
    expect(mask).not.toBe(0o177);
  });

  test.each([
    ['no JSON', 'garbage', /one line of JSON/],
    ['no object', '[1,2]', /one line of JSON/],
    ['null', 'null', /one line of JSON/],
    ['an empty line', '', /one line of JSON/],
    ['no command', '{"arguments":{}}', /one line of JSON/],
    ['an unknown command', '{"command":"fly"}', /no control command fly - there are status/],
    ['the name of an inherited property', '{"command":"__proto__"}', /no control command __proto__/],
    ['an unknown argument', '{"command":"status","arguments":{"verbose":true}}', /verbose/],
    ['an argument of the wrong type', '{"command":"stage","arguments":{"name":7}}', /stage: name/],
    ['a missing argument', '{"command":"disk-add","arguments":{"id":"x"}}', /disk-add: path/],
    ['binary', '\u0000\u0001\ufffd', /one line of JSON/],
  ])('answers %s with an error', async (_, line, words) => {
    expect(await say(line)).toMatchObject({
      ok: false,
      error: { code: 'ARGUMENT_INVALID', message: expect.stringMatching(words) },
    });
    await undisturbed();
  });

  test('answers many requests on one connection in order', async () => {
    const socket = await open();
    socket.write('{"command":"status"}\nnonsense\n{"command":"status"}\n');
    let text = '';
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    await waitFor('three answers', () => text.split('\n').length === 4);
    expect(
      text
        .trimEnd()
        .split('\n')
        .map((line) => (JSON.parse(line) as { ok: boolean }).ok),
    ).toEqual([true, false, true]);
    socket.destroy();
  });

  test('cuts off a client whose line does not end', async () => {
    const socket = await open();
    socket.on('error', () => undefined);
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    for (let sent = 0; sent < 4; sent++) socket.write('x'.repeat(64 * 1024));
    await closed;
    await undisturbed();
  });

  test('a client that asks and never reads costs no memory and holds up nobody', async () => {
    const socket = await open();
    socket.pause().on('error', () => undefined);
    const request = '{"command":"status"}\n';
    for (let index = 0; index < 2000; index++) socket.write(request);
    await undisturbed();
    socket.destroy();
    await undisturbed();
  });

  test('a client that leaves in the middle of a request, or of its events, leaves nothing behind', async () => {
    const before = fdTable(process.pid).size;
    for (let index = 0; index < 20; index++) {
      const socket = await open();
      socket.write(index % 2 === 0 ? '{"command":"attest"}\n' : '{"command":"events"}\n');
      socket.destroy();
    }
    await waitFor('their connections to be closed', () => fdTable(process.pid).size <= before);
    await undisturbed();
  });

  test('holds a bounded number of clients; more are turned away, and those there go on', async () => {
    const first = await open();
    const crowd = await Promise.all(Array.from({ length: 80 }, () => open()));
    const left = await waitFor('the surplus to be turned away', () => {
      const open = crowd.filter((socket) => !socket.destroyed && socket.readable);
      for (const socket of crowd) socket.on('error', () => undefined).resume();
      return open.length < 70 && open;
    });
    expect(left.length).toBeGreaterThan(32);
    first.write('{"command":"status"}\n');
    await once(first, 'data');
    for (const socket of [first, ...crowd]) socket.destroy();
    await waitFor('room again', () =>
      controlRequest(path, 'status').then(
        () => true,
        () => undefined,
      ),
    );
  });

  test('readers of events get the last one, and then the end', async () => {
    const lines: string[] = [];
    const reading = (async () => {
      for await (const line of controlEvents(path)) lines.push(line);
    })();
    const idle = await open();
    const slow = await open();
    slow.pause().write('{"command":"events"}\n');
    // On a connection made after theirs, so the server has seen theirs.
    await controlRequest(path, 'stage', { name: 'sealed' });
    await sandbox.kill();
    await server.close();
    await reading;
    expect(JSON.parse(lines.at(-1) ?? '')).toMatchObject({ type: 'exit', signal: 'SIGKILL' });
    idle.destroy();
    slow.destroy();
  });
});
