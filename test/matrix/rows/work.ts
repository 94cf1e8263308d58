// SPDX-License-Identifier: Apache-2.0
// Guests that work hard: seconds in the short form, minutes with --long.
import { execFileSync } from 'node:child_process';
import { findProgram } from '../../../core/launch/find-program.ts';
import { ringsOfItsOwn } from '../qemu-version.ts';
import type { Row } from '../row.ts';
import type { Scene } from '../scene.ts';
import { addNode, makeImage, makeQcow2, removeNode } from '../support/block.ts';
import { guestDisk, unplug } from '../support/disk.ts';
import { serveNbd } from '../support/nbd.ts';
import { addNic, peerIp } from '../support/nic.ts';
import { startPasst } from '../support/passt.ts';
import { exchangeBytes, exerciseDisk } from '../support/traffic.ts';
import type { Vm } from '../vm.ts';

async function workOnDisk(scene: Scene, vm: Vm, drive: string, options: Readonly<Record<string, unknown>> = {}) {
  const id = scene.name('disk');
  await vm.qmp('device_add', { driver: 'virtio-blk-pci', id, drive, serial: id, ...options });
  await exerciseDisk(scene, vm, await guestDisk(vm, id));
  await unplug(vm, id);
  await removeNode(vm, drive);
}

const direct = { cache: { direct: true } } as const;

const disks: readonly Row[] = [
  ...(
    [
      ['raw, aio=threads', 'raw', [], { aio: 'threads', ...direct }],
      ['raw, aio=native', 'raw', ['aio-native'], { aio: 'native', ...direct }],
      ['raw, aio=io_uring', 'raw', ['io-uring'], { aio: 'io_uring', ...direct }],
      ['qcow2', 'qcow2', [], {}],
    ] as const
  ).map(
    ([kind, driver, features, file]): Row => ({
      operation: `disk: ${kind}`,
      way: 'transparent',
      ...(kind === 'qcow2' ? {} : { longOnly: true }),
      ...(kind.includes('io_uring') ? { missing: ringsOfItsOwn } : {}),
      features,
      run: async (scene) => {
        const vm = await scene.linux();
        const image = driver === 'raw' ? makeImage(scene.path()) : makeQcow2(scene.path());
        await workOnDisk(scene, vm, await addNode(vm, driver, image, { file }));
      },
    }),
  ),
  {
    operation: 'disk: NBD',
    way: 'transparent',
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.linux();
      const path = scene.path();
      await serveNbd(scene, makeImage(scene.path()), '-k', path);
      const drive = scene.name('nbd');
      await vm.qmp('blockdev-add', {
        driver: 'nbd',
        'node-name': drive,
        server: { type: 'unix', path },
        export: 'disk',
      });
      await workOnDisk(scene, vm, drive);
    },
  },
  {
    operation: 'disk: on an iothread',
    way: 'transparent',
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.linux();
      const iothread = scene.name('io');
      await vm.qmp('object-add', { 'qom-type': 'iothread', id: iothread });
      await workOnDisk(scene, vm, await addNode(vm, 'raw', makeImage(scene.path())), { iothread });
      await vm.qmp('object-del', { id: iothread });
    },
  },
];

const networks: readonly Row[] = [
  {
    operation: 'network: tap',
    way: 'fd',
    run: async (scene) => {
      const vm = await scene.linux();
      const tap = await vm.sandbox.tap('matrix%d');
      using fd = tap.fd;
      await vm.qmp('getfd', { fdname: 'tap' }, [fd.fd]);
      const netdev = scene.name('net');
      await vm.qmp('netdev_add', { type: 'tap', id: netdev, fd: 'tap' });
      execFileSync('ip', ['address', 'add', `${peerIp}/24`, 'dev', tap.name]);
      const nic = await addNic(scene, vm, netdev);
      await exchangeBytes(scene, vm, { seenByGuest: peerIp, host: peerIp });
      await nic.remove();
    },
  },
  {
    operation: 'network: passt (stream, unix)',
    way: 'transparent',
    features: ['nic-socket'],
    missing: () => (isInstalled('passt') ? undefined : 'the Debian package passt is not installed'),
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.linux();
      const path = scene.path();
      await startPasst(scene, path);
      const netdev = scene.name('net');
      await vm.qmp('netdev_add', { type: 'stream', id: netdev, server: false, addr: { type: 'unix', path } });
      const nic = await addNic(scene, vm, netdev);
      await exchangeBytes(scene, vm, { seenByGuest: peerIp, host: '127.0.0.1' });
      await nic.remove();
    },
  },
  {
    operation: "network: user, the guest's TCP to a granted address",
    way: 'transparent',
    features: ['nic-user'],
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.linux();
      const netdev = scene.name('net');
      await vm.qmp('netdev_add', { type: 'user', id: netdev, net: '192.0.2.0/24', host: peerIp });
      const nic = await addNic(scene, vm, netdev);
      await exchangeBytes(scene, vm, { seenByGuest: peerIp, host: '127.0.0.1' });
      await nic.remove();
    },
  },
];

function isInstalled(program: string): boolean {
  try {
    findProgram(program);
    return true;
  } catch {
    return false;
  }
}

export const work: readonly Row[] = [...disks, ...networks];
