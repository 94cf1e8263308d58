// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { native } from '../../native/index.ts';
import { closesOnExec, failure, openFds, readable } from './fds.ts';

const AF_UNIX = 1;
const AF_INET = 2;
const SOCK_STREAM = 1;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_TYPE = 3;
const SO_ERROR = 4;
const SO_DOMAIN = 39;
const O_NONBLOCK = 0o4000;

let folder: string;
const opened: number[] = [];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ratchet-sockets-'));
});

afterAll(() => rmSync(folder, { recursive: true }));

let before: number;
beforeEach(() => {
  before = openFds();
});

afterEach(() => {
  for (const fd of opened.splice(0)) native.closeFd({ fd });
  expect(openFds()).toBe(before);
});

function socket(domain: number): number {
  const fd = native.createSocket({ domain, type: SOCK_STREAM, protocol: 0 });
  opened.push(fd);
  return fd;
}

function unixAddress(path: string): Buffer {
  const family = Buffer.alloc(2);
  family.writeUInt16LE(AF_UNIX);
  return Buffer.concat([family, Buffer.from(path), Buffer.alloc(1)]);
}

function loopback(port: number): Buffer {
  const address = Buffer.alloc(16);
  address.writeUInt16LE(AF_INET, 0);
  address.writeUInt16BE(port, 2);
  address.set([127, 0, 0, 1], 4);
  return address;
}

describe('createSocket', () => {
  it('makes a non-blocking socket that closes on exec', () => {
    const fd = socket(AF_INET);
    expect(closesOnExec(fd)).toBe(true);
    expect(native.getStatusFlags({ fd }) & O_NONBLOCK).toBe(O_NONBLOCK);
    expect(native.getSocketOption({ fd, level: SOL_SOCKET, name: SO_DOMAIN })).toBe(AF_INET);
    expect(native.getSocketOption({ fd, level: SOL_SOCKET, name: SO_TYPE })).toBe(SOCK_STREAM);
  });

  it('says what the kernel says to a family that is not there', () => {
    expect(failure(() => socket(12345))).toEqual({ code: 'EAFNOSUPPORT', errno: 97, syscall: 'socket' });
  });
});

describe('tcp', () => {
  it('binds, listens, tells the name and takes a connection', async () => {
    const listener = socket(AF_INET);
    native.setSocketOption({ fd: listener, level: SOL_SOCKET, name: SO_REUSEADDR, value: 1 });
    expect(native.getSocketOption({ fd: listener, level: SOL_SOCKET, name: SO_REUSEADDR })).toBe(1);
    native.bindSocket({ fd: listener, address: loopback(0) });
    native.listenSocket({ fd: listener, backlog: 1 });
    const name = native.getSocketName({ fd: listener });
    expect(name).toHaveLength(16);
    expect(name.subarray(4, 8)).toEqual(Buffer.from([127, 0, 0, 1]));

    const client = socket(AF_INET);
    expect(['connected', 'inprogress']).toContain(native.connectSocket({ fd: client, address: name }));
    await readable(listener);
    expect(native.getSocketOption({ fd: client, level: SOL_SOCKET, name: SO_ERROR })).toBe(0);
  });

  it('is refused where nobody listens, at once or later', async () => {
    const holder = socket(AF_INET);
    native.bindSocket({ fd: holder, address: loopback(0) });
    const client = socket(AF_INET);
    const address = native.getSocketName({ fd: holder });
    const ECONNREFUSED = 111;
    try {
      expect(native.connectSocket({ fd: client, address })).toBe('inprogress');
      await readable(client);
      expect(native.getSocketOption({ fd: client, level: SOL_SOCKET, name: SO_ERROR })).toBe(ECONNREFUSED);
    } catch (error) {
      expect(error).toMatchObject({ code: 'ECONNREFUSED', errno: ECONNREFUSED, syscall: 'connect' });
    }
  });

  it('cannot bind an address twice', () => {
    const first = socket(AF_INET);
    native.bindSocket({ fd: first, address: loopback(0) });
    native.listenSocket({ fd: first, backlog: 1 });
    const address = native.getSocketName({ fd: first });
    expect(failure(() => native.bindSocket({ fd: socket(AF_INET), address }))).toMatchObject({
      code: 'EADDRINUSE',
      syscall: 'bind',
    });
  });

  it('takes no listening on a connected socket', () => {
    const [left, right] = native.socketPair({ type: 'stream' });
    opened.push(left, right);
    expect(failure(() => native.listenSocket({ fd: left, backlog: 1 }))).toMatchObject({
      code: 'EINVAL',
      syscall: 'listen',
    });
  });
});

describe('unix', () => {
  it('connects to a path, and says EAGAIN when the queue is full', () => {
    const address = unixAddress(join(folder, 'listener'));
    const listener = socket(AF_UNIX);
    native.bindSocket({ fd: listener, address });
    native.listenSocket({ fd: listener, backlog: 0 });
    expect(native.getSocketName({ fd: listener })).toEqual(address);
    expect(native.connectSocket({ fd: socket(AF_UNIX), address })).toBe('connected');
    expect(failure(() => native.connectSocket({ fd: socket(AF_UNIX), address }))).toEqual({
      code: 'EAGAIN',
      errno: 11,
      syscall: 'connect',
    });
  });

  it('tells abstract names byte by byte', () => {
    const address = Buffer.concat([Buffer.from([1, 0, 0]), Buffer.from(`ratchet\0${process.pid}\0`)]);
    const fd = socket(AF_UNIX);
    native.bindSocket({ fd, address });
    expect(native.getSocketName({ fd })).toEqual(address);
  });

  it('without a name has only its family', () => {
    expect(native.getSocketName({ fd: socket(AF_UNIX) })).toEqual(Buffer.from([1, 0]));
  });

  it('says what is wrong with the address', () => {
    const fd = socket(AF_UNIX);
    expect(failure(() => native.connectSocket({ fd, address: unixAddress(join(folder, 'nobody')) }))).toMatchObject({
      code: 'ENOENT',
    });
    expect(failure(() => native.connectSocket({ fd, address: Buffer.alloc(0) }))).toMatchObject({ code: 'EINVAL' });
    expect(failure(() => native.connectSocket({ fd, address: Buffer.alloc(129) }))).toMatchObject({ code: 'EINVAL' });
    expect(failure(() => native.bindSocket({ fd, address: Buffer.alloc(129) }))).toMatchObject({ code: 'EINVAL' });
    expect(failure(() => native.connectSocket({ fd, address: loopback(1) }))).toMatchObject({ code: 'EINVAL' });
  });
});

describe('status flags', () => {
  it('are read and set', () => {
    const fd = socket(AF_UNIX);
    const flags = native.getStatusFlags({ fd });
    native.setStatusFlags({ fd, flags: flags & ~O_NONBLOCK });
    expect(native.getStatusFlags({ fd })).toBe(flags & ~O_NONBLOCK);
  });

  it.each([
    ['getStatusFlags', () => native.getStatusFlags({ fd: 1_000_000 }), 'fcntl'],
    ['setStatusFlags', () => native.setStatusFlags({ fd: 1_000_000, flags: 0 }), 'fcntl'],
    ['getSocketName', () => native.getSocketName({ fd: 1_000_000 }), 'getsockname'],
    ['getSocketOption', () => native.getSocketOption({ fd: 1_000_000, level: 1, name: 1 }), 'getsockopt'],
    ['setSocketOption', () => native.setSocketOption({ fd: 1_000_000, level: 1, name: 1, value: 1 }), 'setsockopt'],
  ])('%s of a number that is not open is EBADF', (_, action, syscall) => {
    expect(failure(action)).toEqual({ code: 'EBADF', errno: 9, syscall });
  });
});

it.each<[string, () => unknown, RegExp]>([
  [
    'createSocket',
    () => native.createSocket({ domain: 1, type: '1', protocol: 0 } as never),
    /createSocket: option "type"/,
  ],
  ['connectSocket', () => native.connectSocket({ fd: 1, address: [1, 0] } as never), /connectSocket: option "address"/],
  ['bindSocket', () => native.bindSocket({ fd: 1 } as never), /bindSocket: option "address"/],
  ['listenSocket', () => native.listenSocket({ fd: 1, backlog: 2 ** 31 }), /listenSocket: option "backlog"/],
])('%s throws a TypeError that names the option', (_, action, message) => {
  expect(action).toThrow(TypeError);
  expect(action).toThrow(message);
});
