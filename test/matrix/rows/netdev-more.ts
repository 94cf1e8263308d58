// SPDX-License-Identifier: Apache-2.0
// What is done to a network that is there, and netdevs of other builds of QEMU.
import { readFileSync } from 'node:fs';
import { waitFor } from '../../launch/processes.ts';
import { since } from '../qemu-version.ts';
import type { Row } from '../row.ts';
import type { Scene } from '../scene.ts';
import { mustFail } from '../support/must-fail.ts';
import { addNic, type Nic, peerIp } from '../support/nic.ts';
import { knowsVhostUser, startPasst } from '../support/passt.ts';
import { Listener, Peer } from '../support/peer.ts';
import { exchangeBytes } from '../support/traffic.ts';
import { connectChardev, withSharedMemory } from '../support/vhost-user.ts';
import type { Vm } from '../vm.ts';

const hostPort = 4499;
/** IPv4, 20 bytes of header, ICMP. */
const echoRequest = new RegExp(`${String.fromCharCode(8, 0)}E[\\s\\S]{8}${String.fromCharCode(1)}`);

async function userNic(scene: Scene): Promise<{ readonly vm: Vm; readonly netdev: string; readonly nic: Nic }> {
  const vm = await scene.linux();
  const netdev = scene.name('net');
  await vm.qmp('netdev_add', { type: 'user', id: netdev, net: '192.0.2.0/24', host: peerIp });
  return { vm, netdev, nic: await addNic(scene, vm, netdev) };
}

export const netdevMore: readonly Row[] = [
  {
    operation: 'user: hostfwd_add, a connection from outside to the guest',
    way: 'transparent',
    features: ['nic-user'],
    longOnly: true,
    run: async (scene) => {
      const { vm, netdev, nic } = await userNic(scene);
      await vm.hmp(`hostfwd_add ${netdev} tcp:127.0.0.1:${hostPort}-192.0.2.2:7`);
      await vm.shell(
        '(echo from the guest | nc -l -p 7 >/tmp/heard) & until grep -q ":0007 .* 0A" /proc/net/tcp*; do :; done',
      );
      const peer = Peer.connect({ host: '127.0.0.1', port: hostPort });
      await peer.until(/from the guest/);
      peer.stream.destroy();
      await vm.hmp(`hostfwd_remove ${netdev} tcp:127.0.0.1:${hostPort}`, /removed/);
      await nic.remove();
    },
  },
  {
    operation: "user: the guest's UDP",
    way: 'transparent',
    features: ['nic-user'],
    limit: {
      because: 'QEMU makes a datagram socket for it, which could send anywhere past the broker',
      instead: 'passt beside QEMU, on a stream netdev',
    },
    expects: ({ syscall }) => syscall === 'socket',
    longOnly: true,
    run: async (scene) => {
      const { vm, nic } = await userNic(scene);
      const from = vm.events.length;
      await vm.shell(`traceroute -m 1 -q 1 -w 1 ${peerIp} || true`);
      await waitFor('the refusal', () => vm.events.slice(from).some(({ syscall }) => syscall === 'socket'));
      await nic.remove();
    },
  },
  {
    operation: 'set_link off and on',
    way: 'in-process',
    run: async (scene) => {
      const { vm, nic } = await userNic(scene);
      const carrier = `cat /sys/class/net/${nic.interface}/carrier`;
      const { id } = (await vm
        .qmp<readonly { readonly name: string; readonly id: string }[]>('query-rx-filter')
        .then((filters) => ({ id: filters.at(-1)?.name }))) as { readonly id: string };
      await vm.qmp('set_link', { name: id, up: false });
      await vm.shellUntil(carrier, /^0$/);
      await vm.qmp('set_link', { name: id, up: true });
      await vm.shellUntil(carrier, /^1$/);
      await nic.remove();
    },
  },
  {
    operation: 'filter-dump: what passes goes into a file',
    way: 'transparent',
    run: async (scene) => {
      const { vm, netdev, nic } = await userNic(scene);
      const [file, id] = [scene.path(), scene.name('dump')];
      await vm.qmp('object-add', { 'qom-type': 'filter-dump', id, netdev, file });
      await vm.shell(`ping -c 1 -W 20 ${peerIp}`);
      await vm.qmp('object-del', { id });
      // The header of the file, and at least the two packets of the ping.
      const dump = readFileSync(file);
      if (dump.readUInt32LE() !== 0xa1b2c3d4 || dump.length < 24 + 2 * (16 + 98))
        throw new Error(`${dump.length} bytes`);
      await nic.remove();
    },
  },
  {
    operation: 'filter-mirror: what passes goes to a socket too',
    way: 'transparent',
    run: async (scene) => {
      const { vm, netdev, nic } = await userNic(scene);
      const [path, outdev, id] = [scene.path(), scene.name('mirror'), scene.name('filter')];
      await using listener = await Listener.on(path);
      const data = { addr: { type: 'unix', data: { path } }, server: false };
      await vm.qmp('chardev-add', { id: outdev, backend: { type: 'socket', data } });
      await vm.qmp('object-add', { 'qom-type': 'filter-mirror', id, netdev, queue: 'all', outdev });
      const peer = await listener.accepted;
      await vm.shell(`ping -c 1 -W 20 ${peerIp}`);
      // An ICMP echo request of IPv4 among the frames.
      await peer.until(echoRequest);
      await vm.qmp('object-del', { id });
      await vm.qmp('chardev-remove', { id: outdev });
      await nic.remove();
    },
  },
  {
    operation: 'vhost-user',
    way: 'transparent',
    features: ['vhost-user'],
    missing: () =>
      knowsVhostUser()
        ? undefined
        : "there is no other end: passt here is older than 2024, and DPDK's switches want huge pages",
    longOnly: true,
    run: async (scene) => {
      const vm = await withSharedMemory(scene);
      const path = scene.path();
      await startPasst(scene, path, '--vhost-user');
      await connectChardev(vm, path);
      const netdev = scene.name('net');
      await vm.qmp('netdev_add', { type: 'vhost-user', id: netdev, chardev: 'device' });
      const nic = await addNic(scene, vm, netdev);
      await exchangeBytes(scene, vm, { seenByGuest: peerIp, host: '127.0.0.1' });
      await nic.remove();
    },
  },
  {
    operation: 'passt, which QEMU starts',
    way: 'transparent',
    missing: () => since('10.1'),
    limit: {
      because: 'QEMU starts passt itself, and starts no programs in this stage',
      instead: 'passt beside QEMU (row "network: passt (stream, unix)"; `vhost-user` where passt speaks it)',
    },
    expects: () => true,
    run: async (scene) => {
      const vm = await scene.counter();
      await mustFail(vm.qmp('netdev_add', { type: 'passt', id: scene.name('net') }));
    },
  },
  ...(
    [
      ['af-xdp (QEMU 8.2 and later)', 'Debian builds QEMU without libxdp'],
      ['netmap', 'Debian builds QEMU without it, and Linux has it from elsewhere only'],
    ] as const
  ).map(
    ([operation, why]): Row => ({
      operation,
      way: 'transparent',
      missing: () => why,
      run: () => Promise.reject(new Error('not here')),
    }),
  ),
];
