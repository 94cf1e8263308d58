// SPDX-License-Identifier: Apache-2.0
// What can be asked of a request beyond its address or path, read back from the descriptor that comes.
import { constants, fstatSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { OwnedFd } from '../../core/owned-fd.ts';
import { native } from '../../native/index.ts';
import { profileOf } from './policy.ts';
import { type ServedBroker, scratch, startBroker } from './rig.ts';

const directory = scratch();
const inside = (name: string) => join(directory.path, name);
const server = createServer((socket) => socket.destroy());
let broker: ServedBroker;
let tcp: string;

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  tcp = `tcp:127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
  const unix = `unix:${directory.path}/*.sock`;
  const rules = [
    `connect ${tcp}`,
    `connect ${unix}`,
    `bind ${unix}`,
    'bind tcp:127.0.0.1:0',
    `open ${directory.path}/**`,
  ];
  broker = await startBroker(profileOf({ start: { rules } }));
});
afterAll(async () => {
  await broker[Symbol.asyncDispose]();
  server.close();
  directory[Symbol.dispose]();
});

function option({ fd }: OwnedFd, name: number): number {
  return native.getSocketOption({ fd, level: 1, name });
}

const type = 3;
const keepAlive = 9;
const reuseAddress = 2;
const boundInterface = 62;

describe('sockets', () => {
  test('are streams unless asked otherwise', async () => {
    using plain = await broker.client.connect(tcp);
    expect([option(plain, type), option(plain, keepAlive), option(plain, boundInterface)]).toEqual([1, 0, 0]);
  });

  test('keep alive, and stay on an interface', async () => {
    // 1 is the loopback interface of every network namespace.
    using socket = await broker.client.connect(tcp, { keepAlive: true, interfaceIndex: 1 });
    expect([option(socket, keepAlive), option(socket, boundInterface)]).toEqual([1, 1]);
    await expect(broker.client.connect(tcp, { interfaceIndex: 0x7fffffff })).rejects.toMatchObject({ errno: 'ENODEV' });
  });

  test('reuse their address unless that is declined', async () => {
    using shared = await broker.client.bind('tcp:127.0.0.1:0');
    using own = await broker.client.bind('tcp:127.0.0.1:0', { reuseAddress: false });
    expect([option(shared, reuseAddress), option(own, reuseAddress)]).toEqual([1, 0]);
  });

  test.each([
    ['seqpacket', 5, 4],
    ['datagram', 2, 0],
  ] as const)('%s ones on unix addresses carry packets', async (socket, number, backlog) => {
    const address = `unix:${inside(`${socket}.sock`)}`;
    using bound = await broker.client.bind(address, { socket, backlog });
    using connected = await broker.client.connect(address, { socket });
    expect([option(bound, type), option(connected, type)]).toEqual([number, number]);
    native.sendMessage({ fd: connected.fd, data: Buffer.from('one'), fds: [] });
    if (socket === 'datagram')
      expect(native.receiveMessage({ fd: bound.fd, maxBytes: 9, maxFds: 0 })).toMatchObject({
        data: Buffer.from('one'),
      });
    // A stream does not reach it.
    await expect(broker.client.connect(address)).rejects.toMatchObject({ errno: 'EPROTOTYPE' });
  });

  test.each([
    [{ socket: 'datagram' }, 'tcp'],
    [{ socket: 'seqpacket' }, 'tcp'],
    [{ keepAlive: true }, 'unix'],
    [{ interfaceIndex: 1 }, 'unix'],
  ] as const)('%j is no option of a %s address', async (options, kind) => {
    const address = kind === 'tcp' ? tcp : `unix:${inside('any.sock')}`;
    await expect(broker.client.connect(address, options)).rejects.toMatchObject({ errno: 'EINVAL' });
  });
});

describe('files', () => {
  test('are made with the mode that was asked for, and only once when that was asked for', async () => {
    using made = await broker.client.open(inside('new'), 'rw', { create: true, exclusive: true, mode: 0o640 });
    expect(fstatSync(made.fd).mode & 0o7777).toBe(0o640);
    await expect(broker.client.open(inside('new'), 'rw', { create: true, exclusive: true })).rejects.toMatchObject({
      errno: 'EEXIST',
    });
    using usual = await broker.client.open(inside('usual'), 'wo', { create: true });
    expect(fstatSync(usual.fd).mode & 0o7777).toBe(0o600);
  });

  test('are truncated, appended to, and read past the cache', async () => {
    writeFileSync(inside('log'), 'old');
    using log = await broker.client.open(inside('log'), 'wo', { append: true });
    writeSync(log.fd, ' new');
    expect(readFileSync(inside('log'), 'utf8')).toBe('old new');
    (await broker.client.open(inside('log'), 'wo', { truncate: true })).close();
    expect(readFileSync(inside('log'), 'utf8')).toBe('');
    using direct = await broker.client.open(inside('log'), 'ro', { direct: true }).catch(() => undefined as never);
    // tmpfs has O_DIRECT since Linux 6.6.
    if (direct !== undefined) expect(native.getStatusFlags({ fd: direct.fd }) & constants.O_DIRECT).not.toBe(0);
  });

  test.each([
    ['ro', { create: true }],
    ['ro', { truncate: true }],
    ['ro', { append: true }],
    ['rw', { exclusive: true }],
    ['rw', { mode: 0o600 }],
  ] as const)('%s and %j do not go together', async (access, options) => {
    await expect(broker.client.open(inside('log'), access, options)).rejects.toMatchObject({ errno: 'EINVAL' });
  });

  test.each([
    { mode: 0o4755, create: true },
    { mode: -1, create: true },
  ])('a request with %j ends the channel: no such bits can be asked for', async (options) => {
    await using other = await startBroker(profileOf({ start: { rules: [`open ${inside('*')}`] } }));
    await expect(other.client.open(inside('x'), 'rw', options)).rejects.toMatchObject({ code: 'BROKER_DIED' });
  });
});
