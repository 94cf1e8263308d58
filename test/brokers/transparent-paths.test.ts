// SPDX-License-Identifier: Apache-2.0
// Calls on paths and datagrams at the transparent door: access, unlink, send; and symbolic links.
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { OwnedFd } from '../../core/owned-fd.ts';
import { addressToSockaddr, parseAddress } from '../../core/policy/address/index.ts';
import { native } from '../../native/index.ts';
import { profileOf } from './policy.ts';
import { fdCount, hex, type ServedBroker, scratch, startBroker, startVictim, type Victim } from './rig.ts';

const brokered = { kind: 'broker' } as const;
const calls = Object.fromEntries(
  [
    ...['connect', 'bind', 'open', 'openat', 'openat2', 'access', 'faccessat', 'faccessat2'],
    ...['unlink', 'unlinkat', 'sendto', 'sendmsg'],
  ].map((name) => [name, brokered]),
);
const sockaddr = (text: string) => hex(addressToSockaddr(parseAddress(text)));
const cleanUp: (() => unknown)[] = [];

afterEach(async () => {
  for (const step of cleanUp.splice(0).reverse()) await step();
});

/** In stage `running`: the loader needs files of its own. */
async function rig(rules: readonly string[]): Promise<{ broker: ServedBroker; victim: Victim }> {
  const broker = await startBroker(profileOf({ start: { rules }, running: { rules, actions: calls } }));
  cleanUp.push(() => broker[Symbol.asyncDispose]());
  const victim = await startVictim(broker.client);
  cleanUp.push(() => victim.end());
  await broker.client.enterStage(1);
  return { broker, victim };
}

function datagrams(path: string): OwnedFd {
  const socket = new OwnedFd(native.createSocket({ domain: 1, type: 2, protocol: 0 }));
  cleanUp.push(() => socket.close());
  native.bindSocket({ fd: socket.fd, address: addressToSockaddr(parseAddress(`unix:${path}`)) });
  return socket;
}

function received(socket: OwnedFd): string {
  const message = native.receiveMessage({ fd: socket.fd, maxBytes: 100, maxFds: 0 });
  return message.kind === 'message' ? message.data.toString() : message.kind;
}

describe('access', () => {
  test.each(['access', 'faccessat', 'faccessat2'])('%s answers for granted paths by what is granted', async (call) => {
    using directory = scratch();
    const inside = (name: string) => join(directory.path, name);
    for (const name of ['image', 'firmware', 'secret']) writeFileSync(inside(name), '');
    const { broker, victim } = await rig([
      `open ${inside('image')}`,
      `open ${inside('firmware')}:ro`,
      `open ${inside('missing')}`,
    ]);
    const before = fdCount(broker.pid);
    const asked = async (mode: number, name: string) => await victim.ask(`${call} ${mode} ${inside(name)}`);
    expect([await asked(0, 'image'), await asked(4, 'image'), await asked(6, 'image')]).toEqual(['ok', 'ok', 'ok']);
    expect([await asked(4, 'firmware'), await asked(2, 'firmware')]).toEqual(['ok', 'EACCES']);
    expect([await asked(0, 'missing'), await asked(0, 'secret')]).toEqual(['ENOENT', 'EACCES']);
    // Nothing that was granted is ever executed.
    expect(await asked(1, 'image')).toBe('EACCES');
    expect(await asked(10, 'image')).toBe('EINVAL');
    expect(await victim.ask(`${call} 0 relative`)).toBe('EACCES');
    expect(fdCount(broker.pid)).toBe(before);
  });

  test('uses up no grant', async () => {
    using directory = scratch();
    const path = join(directory.path, 'image');
    writeFileSync(path, '');
    const plain = profileOf({ start: { rules: [`open ${directory.path}/*`] }, running: { rules: [], actions: calls } });
    const mayGrant = (plain.stages[0]?.broker ?? []).map((rule) => ({ ...rule, mayGrant: true }));
    const broker = await startBroker({
      ...plain,
      stages: plain.stages.map((stage) => ({ ...stage, broker: mayGrant })),
    });
    cleanUp.push(() => broker[Symbol.asyncDispose]());
    const victim = await startVictim(broker.client);
    cleanUp.push(() => victim.end());
    await broker.client.enterStage(1);
    await broker.client.grant({ request: 'open', target: path, uses: 1, throughEpoch: 1 });
    expect(await victim.ask(`access 4 ${path}`)).toBe('ok');
    expect(await victim.ask(`openat 0 0 ${path}`)).toMatch(/^ok/);
    expect(await victim.ask(`access 4 ${path}`)).toBe('EACCES');
    expect(await victim.ask(`openat 0 0 ${path}`)).toBe('EACCES');
  });
});

describe.each(['unlink', 'unlinkat'])('%s', (call) => {
  test('removes a socket that was bound for the VM, in use or not, and nothing else', async () => {
    using directory = scratch();
    const inside = (name: string) => join(directory.path, name);
    const { broker, victim } = await rig([`bind unix:${directory.path}/*`]);
    const bind = () => victim.ask(`bind 1 1 0 ${sockaddr(`unix:${inside('own')}`)}`);
    expect(await victim.ask(`${call} 0 ${inside('own')}`)).toBe('ENOENT');
    expect(await bind()).toBe('ok');
    expect(await bind()).toBe('EADDRINUSE');
    expect(await victim.ask(`${call} 0 ${inside('own')}`)).toBe('ok');
    expect(existsSync(inside('own'))).toBe(false);
    expect(await bind()).toBe('ok');
    // Another's file of the same kind of name, one that took the place of ours, and what bind is not granted for.
    const foreign = datagrams(inside('foreign'));
    writeFileSync(inside('file'), 'mine');
    for (const name of ['foreign', 'file']) expect(await victim.ask(`${call} 0 ${inside(name)}`)).toBe('EACCES');
    expect(await victim.ask(`${call} 0 /etc/passwd`)).toBe('EACCES');
    expect([existsSync(inside('foreign')), readFileSync(inside('file'), 'utf8')]).toEqual([true, 'mine']);
    foreign.close();
    expect(await broker.event((event) => event.type === 'grant' && event.request === 'unlink')).toMatchObject({
      door: 'vmm',
      outcome: 'ENOENT',
    });
  });
});

describe('a datagram with an address', () => {
  test.each(['sendto', 'sendmsg'])('by %s is judged as a connect, and arrives', async (call) => {
    using directory = scratch();
    const inside = (name: string) => join(directory.path, name);
    const [granted, other] = [datagrams(inside('granted')), datagrams(inside('other'))];
    symlinkSync(inside('granted'), inside('link'));
    const { broker, victim } = await rig([`connect unix:${inside('granted')}`, `connect unix:${inside('link')}`]);
    const before = fdCount(broker.pid);
    const ask = (name: string) => victim.ask(`${call} 1 2 0 ${sockaddr(`unix:${inside(name)}`)}`);
    expect(await ask('granted')).toBe('6');
    expect(received(granted)).toBe('hello!');
    expect([await ask('other'), await ask('link'), await ask('missing')]).toEqual(['EACCES', 'ELOOP', 'EACCES']);
    expect([received(other), received(granted)]).toEqual(['again', 'again']);
    // No other kind of socket, no fast open, no fds.
    expect(await victim.ask(`${call} 2 2 0 ${sockaddr('tcp:127.0.0.1:9')}`)).toBe('EACCES');
    if (call === 'sendto')
      expect(await victim.ask(`sendto 2 1 ${0x20000000} ${sockaddr('tcp:127.0.0.1:9')}`)).toBe('EACCES');
    expect(await victim.ask(`sendcontrol 1 2 0 ${sockaddr(`unix:${inside('granted')}`)}`)).toBe('EACCES');
    expect(received(granted)).toBe('again');
    expect(fdCount(broker.pid)).toBe(before);
  });

  test('waits for room where its caller would, delays nobody else, and ends with what permitted it', async () => {
    using directory = scratch();
    const path = join(directory.path, 'full');
    const full = datagrams(path);
    const filler = new OwnedFd(native.createSocket({ domain: 1, type: 2, protocol: 0 }));
    cleanUp.push(() => filler.close());
    const address = addressToSockaddr(parseAddress(`unix:${path}`));
    const fill = () => {
      for (let sent = 0; sent < 1000; sent += 1) {
        try {
          native.sendTo({ fd: filler.fd, data: Buffer.from('x'), address, flags: 0 });
        } catch {
          return sent;
        }
      }
      throw new Error('a queue without end');
    };
    const room = fill();
    const { broker, victim } = await rig([`connect unix:${path}`]);
    const nonBlocking = 0o4000;
    expect(await victim.ask(`sendto 1 ${2 | nonBlocking} 0 ${hex(address)}`)).toBe('EAGAIN');
    expect(await victim.ask(`sendto 1 2 ${0x40} ${hex(address)}`)).toBe('EAGAIN');
    victim.tell(`meanwhile sendto 1 2 0 ${hex(address)}`);
    while ((await broker.client.status()).pending < 1);
    expect(await victim.ask('access 0 /nowhere')).toBe('EACCES');
    for (let each = 0; each < room; each += 1) expect(received(full)).toBe('x');
    expect(await victim.line()).toBe('6');
    expect(received(full)).toBe('hello!');
    fill();
    victim.tell(`meanwhile sendto 1 2 0 ${hex(address)}`);
    while ((await broker.client.status()).pending < 1);
    await victim.end();
    await broker.event(({ type }) => type === 'broker');
    expect((await broker.client.status()).pending).toBe(0);
  });

  test('without an address goes where the socket was connected to', async () => {
    using directory = scratch();
    const path = join(directory.path, 'peer');
    const peer = datagrams(path);
    const { victim } = await rig([`connect unix:${path}`]);
    expect(await victim.ask(`sendpeer 1 2 0 ${sockaddr(`unix:${path}`)}`)).toBe('6');
    expect(received(peer)).toBe('hello!');
  });
});

describe('a symbolic link', () => {
  test('leads only to what is granted too, at both doors', async () => {
    using directory = scratch();
    const inside = (name: string) => join(directory.path, name);
    mkdirSync(inside('disks'));
    writeFileSync(inside('disks/image'), 'data');
    writeFileSync(inside('secret'), 'secret');
    symlinkSync(inside('disks/image'), inside('by-name'));
    symlinkSync(inside('secret'), inside('trap'));
    symlinkSync(inside('disks'), inside('folder'));
    const { broker, victim } = await rig([
      `open ${inside('disks')}/*:ro`,
      ...['by-name', 'trap', 'folder/image', 'loop'].map((name) => `open ${inside(name)}`),
    ]);
    symlinkSync(inside('loop'), inside('loop'));
    const explicit = async (path: string, access: 'ro' | 'rw') =>
      await broker.client.open(path, access).then(
        (fd) => {
          using file = fd;
          return readFileSync(file.fd, 'utf8');
        },
        (error) => error.errno,
      );
    expect(await explicit(inside('by-name'), 'ro')).toBe('data');
    expect(await explicit(inside('folder/image'), 'ro')).toBe('data');
    // The link is granted for writing, what it leads to is not.
    expect(await explicit(inside('by-name'), 'rw')).toBe('ELOOP');
    expect([await explicit(inside('trap'), 'ro'), await explicit(inside('loop'), 'ro')]).toEqual(['ELOOP', 'ELOOP']);
    const transparent = (flags: string, name: string) => victim.ask(`openat ${flags} 0 ${inside(name)}`);
    expect(await transparent('0', 'by-name')).toMatch(/^ok/);
    expect(await transparent('0', 'folder/image')).toMatch(/^ok/);
    for (const [flags, name] of [
      ['02', 'by-name'],
      ['0400000', 'by-name'],
      ['0', 'trap'],
      ['0', 'loop'],
    ] as const)
      expect(await transparent(flags, name)).toBe('ELOOP');
    expect(await victim.ask(`access 4 ${inside('by-name')}`)).toBe('ok');
    expect(await victim.ask(`access 4 ${inside('trap')}`)).toBe('ELOOP');
    const opened = await broker.event((event) => event.type === 'grant' && event.outcome === 'ok');
    expect(opened).toMatchObject({ target: `${inside('disks/image')}:ro` });
  });

  test('to a socket likewise', async () => {
    using directory = scratch();
    const inside = (name: string) => join(directory.path, name);
    const server = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => server.listen(inside('peer'), resolve));
    cleanUp.push(() => new Promise((resolve) => server.close(resolve)));
    symlinkSync(inside('peer'), inside('link'));
    const address = `unix:${inside('link')}`;
    const both = await rig([`connect ${address}`, `connect unix:${inside('peer')}`]);
    (await both.broker.client.connect(address)).close();
    expect(await both.victim.ask(`connect 1 1 0 ${sockaddr(address)}`)).toBe('ok');
    const one = await rig([`connect ${address}`]);
    await expect(one.broker.client.connect(address)).rejects.toMatchObject({ errno: 'ELOOP' });
    expect(await one.victim.ask(`connect 1 1 0 ${sockaddr(address)}`)).toBe('ELOOP');
  });
});
