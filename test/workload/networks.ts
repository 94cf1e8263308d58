// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { OwnedFd } from '../../core/owned-fd.ts';
import { addressToSockaddr, parseAddress, socketFamily } from '../../core/policy/address/index.ts';
import { native } from '../../native/index.ts';
import { waitFor } from '../launch/processes.ts';
import type { Scene } from '../matrix/scene.ts';
import { startEcho } from '../matrix/support/echo.ts';
import { knowsVhostUser, startPasst } from '../matrix/support/passt.ts';
import { guestMs, type Vm } from '../matrix/vm.ts';
import { bytesPerTurn, type Load, type Machines } from './load.ts';

/** All that is sent comes back. The connection is held until it has: busybox's nc leaves with its input. */
const sendAndReceive = (host: string, port: number): string =>
  `: >IN; (cat OUT; until [ $(wc -c <IN) -ge ${bytesPerTurn} ]; do sleep 0.1; done) | nc ${host} ${port} >IN`;

let wires = 0;

/** A network of its own for each load: the guest is .2 in it. */
function nextNet(): string {
  return `198.18.${wires++}`;
}

async function plugNic(scene: Scene, vm: Vm, netdev: string, address: string): Promise<void> {
  const mac = `52:54:00:18:${(macs >> 8).toString(16).padStart(2, '0')}:${(macs++ & 0xff).toString(16).padStart(2, '0')}`;
  await vm.qmp('device_add', { driver: 'virtio-net-pci', id: scene.name('nic'), netdev, mac, romfile: '' });
  const found = await vm.shellUntil(`grep -l ${mac} /sys/class/net/*/address`, /address$/);
  const name = found.split('/').at(-2) ?? '';
  await vm.shell(`ip address add ${address}/24 dev ${name}; ip link set ${name} up`);
}
let macs = 1;

const echoPort = 7;
const echoing = new WeakSet<Vm>();

/** Between two guests: that of `other` gives back what it gets. */
function wire(
  name: string,
  ends: (scene: Scene, machines: Machines) => Promise<readonly [features: string, other: string]>,
): Load {
  return {
    name: `network: ${name}`,
    on: 'features',
    reaches: 'other',
    prepare: async (scene, machines) => {
      const { features: vm, other } = machines;
      const [here, there] = await ends(scene, machines);
      const net = nextNet();
      if (!echoing.has(other)) await other.shell(`nc -ll -p ${echoPort} -e cat </dev/null >/dev/null 2>&1 &`);
      echoing.add(other);
      await plugNic(scene, other, there, `${net}.3`);
      await plugNic(scene, vm, here, `${net}.2`);
      await vm.shellUntil(`ping -c 1 -W 5 ${net}.3`, /1 packets received/);
      return sendAndReceive(`${net}.3`, echoPort);
    },
  };
}

async function netdevAdd(scene: Scene, vm: Vm, options: Readonly<Record<string, unknown>>): Promise<string> {
  const id = scene.name('net');
  await vm.qmp('netdev_add', { id, ...options });
  return id;
}

/** @param listens when the server can be connected to: it binds in a thread of its own and tells nobody. */
async function streamEnds(scene: Scene, { features: vm, other }: Machines, addr: object, listens: () => boolean) {
  using events = other.sandbox.vmm.qmp.subscribe(['NETDEV_STREAM_CONNECTED']);
  const here = await netdevAdd(scene, vm, { type: 'stream', server: true, addr });
  await waitFor('the stream netdev that listens', listens);
  const there = await netdevAdd(scene, other, { type: 'stream', server: false, addr });
  await events.next(() => true, guestMs);
  return [here, there] as const;
}

/** Its name is there before it listens, and who connects in between is refused for good. */
function listensAt(path: string): boolean {
  const listening = '00010000';
  const sockets = readFileSync('/proc/self/net/unix', 'utf8').trimEnd().split('\n');
  return sockets.some((line) => line.endsWith(` ${path}`) && line.split(' ')[3] === listening);
}

function listensOn(port: number): boolean {
  const [hex, listening] = [port.toString(16).toUpperCase().padStart(4, '0'), '0A'];
  return new RegExp(`:${hex} 0+:0+ ${listening} `).test(readFileSync('/proc/self/net/tcp', 'utf8'));
}

/** A datagram socket on one port of loopback that is connected to another one. */
function datagramSocket(from: number, to: number): OwnedFd {
  const address = (port: number) => addressToSockaddr(parseAddress(`tcp:127.0.0.1:${port}`));
  const owned = new OwnedFd(native.createSocket({ domain: socketFamily.inet, type: 2, protocol: 0 }));
  native.bindSocket({ fd: owned.fd, address: address(from) });
  native.connectSocket({ fd: owned.fd, address: address(to) });
  return owned;
}

export const networks: readonly Load[] = [
  {
    name: 'network: tap',
    on: 'base',
    prepare: async (scene, { base: vm }) => {
      const tap = await vm.sandbox.tap('matrix%d');
      using fd = tap.fd;
      await vm.qmp('getfd', { fdname: 'tap' }, [fd.fd]);
      const netdev = await netdevAdd(scene, vm, { type: 'tap', fd: 'tap' });
      const net = nextNet();
      execFileSync('ip', ['address', 'add', `${net}.1/24`, 'dev', tap.name]);
      await plugNic(scene, vm, netdev, `${net}.2`);
      return sendAndReceive(`${net}.1`, await startEcho(scene, `${net}.1`));
    },
  },
  {
    name: 'network: passt (stream, unix)',
    on: 'other',
    prepare: async (scene, { other: vm }) => {
      const path = scene.path();
      await startPasst(scene, path);
      const addr = { type: 'unix', path };
      const netdev = await netdevAdd(scene, vm, { type: 'stream', server: false, addr });
      await plugNic(scene, vm, netdev, '192.0.2.2');
      return sendAndReceive('192.0.2.1', await startEcho(scene, '127.0.0.1'));
    },
  },
  {
    name: 'network: user',
    on: 'other',
    prepare: async (scene, { other: vm }) => {
      const net = nextNet();
      const netdev = await netdevAdd(scene, vm, { type: 'user', net: `${net}.0/24`, host: `${net}.1` });
      await plugNic(scene, vm, netdev, `${net}.2`);
      return sendAndReceive(`${net}.1`, await startEcho(scene, '127.0.0.1'));
    },
  },
  wire('stream, unix', async (scene, machines) => {
    const path = scene.path();
    return await streamEnds(scene, machines, { type: 'unix', path }, () => listensAt(path));
  }),
  wire('stream, tcp', async (scene, machines) => {
    const port = 4601;
    const addr = { type: 'inet', host: '127.0.0.1', port: `${port}` };
    return await streamEnds(scene, machines, addr, () => listensOn(port));
  }),
  wire('socket, listen= and connect=', async (scene, { features: vm, other }) => [
    await netdevAdd(scene, vm, { type: 'socket', listen: '127.0.0.1:4602' }),
    await netdevAdd(scene, other, { type: 'socket', connect: '127.0.0.1:4602' }),
  ]),
  wire('dgram, by descriptor', async (scene, { features: vm, other }) => {
    const end = async (machine: Vm, from: number, to: number): Promise<string> => {
      using owned = datagramSocket(from, to);
      const { fd } = await machine.qmp<{ readonly fd: number }>('add-fd', {}, [owned.fd]);
      return await netdevAdd(scene, machine, { type: 'dgram', local: { type: 'fd', str: `${fd}` } });
    };
    return [await end(vm, 4603, 4604), await end(other, 4604, 4603)];
  }),
  {
    name: 'network: vhost-user (passt)',
    on: 'features',
    missing: () => (knowsVhostUser() ? undefined : 'passt here speaks no vhost-user'),
    prepare: async (scene, { features: vm }) => {
      const path = scene.path();
      await startPasst(scene, path, '--vhost-user');
      const addr = { type: 'unix', data: { path } };
      await vm.qmp('chardev-add', { id: 'passt', backend: { type: 'socket', data: { addr, server: false } } });
      await plugNic(scene, vm, await netdevAdd(scene, vm, { type: 'vhost-user', chardev: 'passt' }), '192.0.2.2');
      return sendAndReceive('192.0.2.1', await startEcho(scene, '127.0.0.1'));
    },
  },
];
