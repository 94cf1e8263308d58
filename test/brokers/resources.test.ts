// SPDX-License-Identifier: Apache-2.0
// What the broker makes that has no address and no path of its own: devices by number, memory, terminals, pairs, and tap devices in bridges.
import { execFileSync } from 'node:child_process';
import { closeSync, fstatSync, readSync, statSync, writeSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { BrokerClient } from '../../core/broker/client.ts';
import { native } from '../../native/index.ts';
import { profileOf } from './policy.ts';
import { fdCount, scratch, startBroker } from './rig.ts';

const refused = { code: 'REQUEST_REFUSED' };
const serving = (...rules: readonly string[]) => startBroker(profileOf({ start: { rules }, running: { rules: [] } }));

describe('a device by its number', () => {
  test('is opened where its number is granted, as it is granted', async () => {
    await using broker = await serving('device char:1:3', 'device char:1:5:ro', 'device char:1:9', '6 device char:1:9');
    const { client } = broker;
    using nothing = await client.device('char', [1, 3]);
    expect(fstatSync(nothing.fd).rdev).toBe(statSync('/dev/null').rdev);
    using zero = await client.device('char', [1, 5], 'ro');
    expect(readSync(zero.fd, Buffer.alloc(4))).toBe(4);
    await expect(client.device('char', [1, 5], 'rw')).rejects.toMatchObject(refused);
    await expect(client.device('block', [1, 3])).rejects.toMatchObject(refused);
    await expect(client.device('char', [1, 9], 'ro')).rejects.toMatchObject({ ...refused, errno: 'ENXIO' });
  });

  test('that is not there is an errno, and one in another stage is refused', async () => {
    await using broker = await serving('device char:1:*');
    const { client } = broker;
    await expect(client.device('char', [1, 200])).rejects.toMatchObject({ code: 'REQUEST_FAILED', errno: 'ENOENT' });
    await client.enterStage(1);
    await expect(client.device('char', [1, 3])).rejects.toMatchObject(refused);
  });
});

describe('memory', () => {
  test('has the size and the seals that were asked for, up to the size that is granted', async () => {
    await using broker = await serving('memory 1M');
    const { client } = broker;
    using memory = await client.memory(1024 * 1024, ['shrink', 'grow', 'seal']);
    expect(fstatSync(memory.fd).size).toBe(1024 * 1024);
    expect(sealed(() => native.mapShared({ fd: memory.fd, bytes: 4096 }))).toBe('ok');
    expect(
      sealed(() =>
        execFileSync('truncate', ['-s', '0', '/proc/self/fd/3'], { stdio: ['ignore', 'ignore', 'pipe', memory.fd] }),
      ),
    ).toMatch(/not permitted/);
    await expect(client.memory(1024 * 1024 + 1)).rejects.toMatchObject(refused);
  });
});

test('a terminal has two sides that hear each other', async () => {
  await using broker = await serving('terminal any');
  const { controller, peer, name } = await broker.client.terminal();
  expect(name).toMatch(/^\/dev\/pts\/\d+$/);
  expect(fstatSync(peer.fd).rdev).toBe(statSync(name).rdev);
  writeSync(peer.fd, 'hello');
  const heard = Buffer.alloc(5);
  readSync(controller.fd, heard);
  expect(heard.toString()).toBe('hello');
  controller.close();
  peer.close();
});

test.each(['stream', 'datagram', 'seqpacket'] as const)(
  'a %s pair is connected, blocking, and leaves nothing behind',
  async (kind) => {
    await using broker = await serving(`pair ${kind}`);
    const before = fdCount(broker.pid);
    const [one, other] = await broker.client.pair(kind);
    writeSync(one.fd, 'hello');
    const heard = Buffer.alloc(9);
    expect(readSync(other.fd, heard)).toBe(5);
    one.close();
    other.close();
    // Its own copies are closed by the time that it answers again.
    await broker.client.status();
    expect(fdCount(broker.pid)).toBe(before);
    await expect(broker.client.pair(kind === 'stream' ? 'datagram' : 'stream')).rejects.toMatchObject(refused);
  },
);

test('none of them is to be had without a grant', async () => {
  await using broker = await serving();
  const asked: readonly ((client: BrokerClient) => Promise<unknown>)[] = [
    (client) => client.device('char', [1, 3]),
    (client) => client.memory(4096),
    (client) => client.terminal(),
    (client) => client.pair('stream'),
  ];
  for (const ask of asked) await expect(ask(broker.client)).rejects.toMatchObject(refused);
});

describe('a tap device', () => {
  const within = [
    'unshare',
    '--net',
    '--mount',
    'sh',
    '-c',
    'mount -t sysfs sysfs /sys && ip link add br0 type bridge && ip link add br1 type bridge && exec "$@"',
    'sh',
  ];
  const inNetwork = (pid: number, ...command: readonly string[]): string =>
    execFileSync('nsenter', ['--net', '--mount', '-t', String(pid), ...command], { encoding: 'utf8' });

  test('is put into the bridge that its rule names and into no other, with the size and the owner that were asked for', async () => {
    const rules = ['tap rt*@br0', 'tap lone'];
    await using broker = await startBroker(profileOf({ start: { rules } }), [], within);
    const { client } = broker;
    const made = await client.tap('rt%d', { bridge: 'br0', mtu: 1400, owner: 54321, multiQueue: true });
    const shown = inNetwork(broker.pid, 'ip', '-details', 'link', 'show', made.name);
    expect(shown).toMatch(/mtu 1400/);
    expect(shown).toMatch(/master br0/);
    expect(shown).toMatch(/user 54321/);
    const second = await client.tap(made.name, { bridge: 'br0', multiQueue: true });
    await expect(client.tap('rt7', { bridge: 'br1' })).rejects.toMatchObject(refused);
    await expect(client.tap('rt7')).rejects.toMatchObject(refused);
    await expect(client.tap('lone', { bridge: 'br0' })).rejects.toMatchObject(refused);
    (await client.tap('lone')).fd.close();
    made.fd.close();
    second.fd.close();
  });

  test('that is a port of another bridge already is not handed out', async () => {
    await using broker = await startBroker(profileOf({ start: { rules: ['tap rt*@br0'] } }), [], within);
    inNetwork(broker.pid, 'ip', 'tuntap', 'add', 'rt9', 'mode', 'tap', 'vnet_hdr');
    inNetwork(broker.pid, 'ip', 'link', 'set', 'rt9', 'master', 'br1');
    await expect(broker.client.tap('rt9', { bridge: 'br0' })).rejects.toMatchObject({
      code: 'REQUEST_FAILED',
      errno: 'EBUSY',
    });
  });
});

test('the file of a socket that was bound for the VM is removed on request, and no other file', async () => {
  using folder = scratch();
  const address = `unix:${folder.path}/socket`;
  await using broker = await serving(`bind unix:${folder.path}/*`);
  const { client } = broker;
  (await client.bind(address)).close();
  await client.release(address);
  await expect(client.release(address)).rejects.toMatchObject({ errno: 'ENOENT' });
  closeSync(
    native.openFile({ directoryFd: -100, path: `${folder.path}/socket`, flags: 0o101, mode: 0o600, resolve: 0 }),
  );
  await expect(client.release(address)).rejects.toMatchObject({ code: 'REQUEST_REFUSED' });
  expect(statSync(`${folder.path}/socket`).size).toBe(0);
});

function sealed(action: () => unknown): string {
  try {
    action();
    return 'ok';
  } catch (error) {
    return String((error as { stderr?: Buffer }).stderr ?? error);
  }
}
