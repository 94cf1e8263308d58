// SPDX-License-Identifier: Apache-2.0
// The same wish through both doors: the same verdict and the same result.
import { symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { RatchetError } from '../../core/errors.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import { addressToSockaddr, parseAddress, socketFamily } from '../../core/policy/address/index.ts';
import { native } from '../../native/index.ts';
import { profileOf } from './policy.ts';
import { hex, type ServedBroker, scratch, startBroker, startVictim, type Victim } from './rig.ts';

const directory = scratch();
const inside = (name: string) => join(directory.path, name);
const servers: Server[] = [];
let broker: ServedBroker;
let victim: Victim;
let port = 0;
let abstractListener: OwnedFd;

async function listen(on: number | string): Promise<number> {
  const server = createServer((socket) => socket.destroy());
  servers.push(server);
  await new Promise<void>((resolve) => {
    if (typeof on === 'number') server.listen(on, '127.0.0.1', resolve);
    else server.listen(on, resolve);
  });
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** Node's own listen does not take abstract names. */
function listenAbstract(text: string): OwnedFd {
  const fd = native.createSocket({ domain: socketFamily.unix, type: 1, protocol: 0 });
  native.bindSocket({ fd, address: addressToSockaddr(parseAddress(text)) });
  native.listenSocket({ fd, backlog: 16 });
  return new OwnedFd(fd);
}

beforeAll(async () => {
  port = await listen(0);
  await listen(inside('granted.sock'));
  await listen(inside('other.sock'));
  abstractListener = listenAbstract('unix-abstract:ratchet-test-granted');
  symlinkSync(inside('other.sock'), inside('link.sock'));
  writeFileSync(inside('plain.sock'), '');
  for (const name of ['image', 'read-only', 'forbidden']) writeFileSync(inside(name), 'data');
  symlinkSync(inside('forbidden'), inside('link'));
  const broker_ = { kind: 'broker' } as const;
  const profile = profileOf({
    start: {
      rules: [
        `connect tcp:127.0.0.1:${port}`,
        'connect tcp:127.0.0.1:1',
        `connect unix:${inside('granted.sock')}`,
        `connect unix:${inside('link.sock')}`,
        `connect unix:${inside('plain.sock')}`,
        `connect unix:${inside('missing.sock')}`,
        `2 connect unix:${inside('refused.sock')}`,
        'connect unix-abstract:ratchet-test-granted',
        'connect unix-abstract:ratchet-test-missing',
        'bind tcp:127.0.0.1:0',
        `bind unix:${inside('bound-*')}`,
        `bind unix:${inside('granted.sock')}`,
        'bind unix-abstract:ratchet-test-bound-1',
        'bind unix-abstract:ratchet-test-bound-2',
        'bind tcp:[::1]:0',
        `open ${inside('image')}`,
        `open ${inside('read-only')}:ro`,
        `open ${inside('link')}`,
        `open ${inside('missing')}`,
        `13 open ${inside('image-*')}`,
      ],
      actions: { connect: broker_, bind: broker_ },
    },
    running: {
      rules: [],
      actions: {},
    },
  });
  // openat goes on in the kernel while the loader works, so the file calls get a broker of their own below.
  broker = await startBroker(profile);
  victim = await startVictim(broker.client);
});

afterAll(async () => {
  await victim.end();
  await broker[Symbol.asyncDispose]();
  abstractListener.close();
  for (const server of servers) server.close();
  directory[Symbol.dispose]();
});

async function explicit(request: 'connect' | 'bind', address: string): Promise<string> {
  try {
    (await broker.client[request](address)).close();
    return 'ok';
  } catch (error) {
    return (error as RatchetError).errno ?? String(error);
  }
}

async function transparent(request: 'connect' | 'bind', address: string): Promise<string> {
  const parsed = parseAddress(address);
  const bytes = addressToSockaddr(parsed);
  return await victim.ask(`${request} ${bytes[0] as number} 1 0 ${hex(bytes)}`);
}

const wishes: readonly (readonly ['connect' | 'bind', () => string, string])[] = [
  ['connect', () => `tcp:127.0.0.1:${port}`, 'ok'],
  ['connect', () => 'tcp:127.0.0.1:1', 'ECONNREFUSED'],
  ['connect', () => 'tcp:127.0.0.1:2', 'EACCES'],
  ['connect', () => `tcp:0.0.0.0:${port}`, 'ok'],
  ['connect', () => 'tcp:0.0.0.0:2', 'EACCES'],
  ['connect', () => `tcp:127.0.0.2:${port}`, 'EACCES'],
  ['connect', () => `tcp:[::1]:${port}`, 'EACCES'],
  ['connect', () => `unix:${inside('granted.sock')}`, 'ok'],
  ['connect', () => `unix:${inside('other.sock')}`, 'EACCES'],
  ['connect', () => `unix:${inside('link.sock')}`, 'ELOOP'],
  ['connect', () => `unix:${inside('plain.sock')}`, 'ECONNREFUSED'],
  ['connect', () => `unix:${inside('missing.sock')}`, 'ENOENT'],
  ['connect', () => `unix:${inside('refused.sock')}`, 'ENOENT'],
  ['connect', () => 'unix-abstract:ratchet-test-granted', 'ok'],
  ['connect', () => 'unix-abstract:ratchet-test-missing', 'ECONNREFUSED'],
  ['connect', () => 'unix-abstract:ratchet-test-granted\\x00', 'EACCES'],
  ['bind', () => 'tcp:127.0.0.1:0', 'ok'],
  ['bind', () => 'tcp:127.0.0.1:1', 'EACCES'],
  ['bind', () => 'tcp:0.0.0.0:0', 'EACCES'],
  ['bind', () => 'tcp:[::1]:0', 'ok'],
  ['bind', () => `unix:${inside('granted.sock')}`, 'EADDRINUSE'],
  ['bind', () => `unix:${inside('forbidden-1')}`, 'EACCES'],
  ['bind', () => 'unix-abstract:ratchet-test-other', 'EACCES'],
];

test.each(wishes)('%s %s is answered alike at both doors: %s', async (request, address, wanted) => {
  expect({ explicit: await explicit(request, address()), transparent: await transparent(request, address()) }).toEqual({
    explicit: wanted,
    transparent: wanted,
  });
});

test('a path is in use while its socket is open, and free again afterwards', async () => {
  const held = await broker.client.bind(`unix:${inside('bound-1')}`);
  expect(await transparent('bind', `unix:${inside('bound-1')}`)).toBe('EADDRINUSE');
  expect(await explicit('bind', `unix:${inside('bound-1')}`)).toBe('EADDRINUSE');
  held.close();
  // The victim keeps what it binds.
  expect(await transparent('bind', `unix:${inside('bound-1')}`)).toBe('ok');
  expect(await transparent('bind', `unix:${inside('bound-1')}`)).toBe('EADDRINUSE');
  expect(await explicit('bind', `unix:${inside('bound-1')}`)).toBe('EADDRINUSE');
});

test('a file that is not a socket of the broker is never removed for a bind', async () => {
  writeFileSync(inside('bound-3'), 'mine');
  expect(await explicit('bind', `unix:${inside('bound-3')}`)).toBe('EADDRINUSE');
  expect(await transparent('bind', `unix:${inside('bound-3')}`)).toBe('EADDRINUSE');
});

test('an abstract name is bound at both doors', async () => {
  expect(await explicit('bind', 'unix-abstract:ratchet-test-bound-1')).toBe('ok');
  expect(await transparent('bind', 'unix-abstract:ratchet-test-bound-2')).toBe('ok');
});

test('files are opened alike at both doors', async () => {
  const rules = [
    `open ${inside('image')}`,
    `open ${inside('read-only')}:ro`,
    `open ${inside('link')}`,
    `open ${inside('missing')}`,
    `2 open ${inside('hidden')}`,
  ];
  const opens = Object.fromEntries(
    ['open', 'openat', 'openat2', 'creat'].map((name) => [name, { kind: 'broker' } as const]),
  );
  await using files = await startBroker(
    profileOf({ start: { rules, actions: {} }, running: { rules, actions: opens } }),
  );
  const opener = await startVictim(files.client);
  await files.client.enterStage(1);
  const atBoth = async (name: string, access: 'ro' | 'rw' | 'wo') => {
    const flags = { ro: '0', rw: '2', wo: '1' }[access];
    let explicitly = 'ok';
    try {
      (await files.client.open(inside(name), access)).close();
    } catch (error) {
      explicitly = (error as RatchetError).errno ?? String(error);
    }
    const calls = [];
    for (const verb of ['open', 'openat', 'openat2'])
      calls.push((await opener.ask(`${verb} ${flags} 0 ${inside(name)}`)).split(' ')[0]);
    return [explicitly, ...calls];
  };
  const all = (what: string) => [what, what, what, what];
  expect(await atBoth('image', 'rw')).toEqual(all('ok'));
  expect(await atBoth('image', 'wo')).toEqual(all('ok'));
  expect(await atBoth('read-only', 'ro')).toEqual(all('ok'));
  expect(await atBoth('read-only', 'rw')).toEqual(all('EACCES'));
  expect(await atBoth('forbidden', 'ro')).toEqual(all('EACCES'));
  expect(await atBoth('link', 'ro')).toEqual(all('ELOOP'));
  expect(await atBoth('missing', 'rw')).toEqual(all('ENOENT'));
  expect(await atBoth('hidden', 'ro')).toEqual(all('ENOENT'));
  await opener.end();
});

test('an IPv4 address on an IPv6 socket is judged as IPv4, and reached', async () => {
  const mapped = (text: string) => hex(addressToSockaddr(parseAddress(text), { mapped: true }));
  const inet6 = socketFamily.inet6;
  expect(await victim.ask(`connect ${inet6} 1 0 ${mapped(`tcp:127.0.0.1:${port}`)}`)).toBe('ok');
  expect(await victim.ask(`connect ${inet6} 1 0 ${mapped('tcp:127.0.0.1:2')}`)).toBe('EACCES');
});
