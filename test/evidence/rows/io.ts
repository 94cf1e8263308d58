// SPDX-License-Identifier: Apache-2.0
// What an iothread and its worker threads call: a disk on one, by format and protocol, and what is done to it in use.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { hostArch } from '../../../core/profile-files.ts';
import { syscallNumber } from '../../../core/tables/index.ts';
import { waitFor } from '../../launch/processes.ts';
import type { Row } from '../../matrix/row.ts';
import type { Scene } from '../../matrix/scene.ts';
import { addNode, fill, makeImage, makeQcow2, removeNode } from '../../matrix/support/block.ts';
import { guestDisk, unplug } from '../../matrix/support/disk.ts';
import { configure, untilMigration } from '../../matrix/support/migrate.ts';
import { exerciseDisk } from '../../matrix/support/traffic.ts';
import type { Vm } from '../../matrix/vm.ts';
import { nbdOnIothread } from './nbd-on-iothread.ts';

const mebibyte = 1024 * 1024;

/** The guest's name for a disk on this node, whose requests an iothread of the command line serves. */
export async function diskOn(scene: Scene, vm: Vm, drive: string): Promise<string> {
  const id = scene.name('disk');
  await vm.qmp('device_add', { driver: 'virtio-blk-pci', id, drive, serial: id, iothread: 'io' });
  return await guestDisk(vm, id);
}

export async function startLinux(scene: Scene, ...args: readonly string[]): Promise<Vm> {
  return await scene.start('linux', { args: ['-object', 'iothread,id=io', ...args] });
}

const epollWaits = ['epoll_wait', 'epoll_pwait'].map((name) => `${syscallNumber(hostArch(), name)}`);

export const io: readonly Row[] = [
  {
    operation: 'a qcow2 disk with a backing file',
    way: 'transparent',
    run: async (scene) => {
      const vm = await startLinux(scene);
      const base = makeQcow2(scene.path());
      execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write -P 17 0 1M', base]);
      const image = makeQcow2(scene.path(), base);
      const disk = await diskOn(scene, vm, await addNode(vm, 'qcow2', image, { file: { cache: { direct: false } } }));
      await vm.shell(
        `dd if=${disk} of=/tmp/block bs=4k skip=3 count=1 2>/dev/null; dd if=/tmp/block of=${disk} bs=4k seek=7 conv=fsync 2>/dev/null`,
      );
      await exerciseDisk(scene, vm, disk);
    },
  },
  ...nbdOnIothread,
  {
    operation: 'resize of a disk in use',
    way: 'transparent',
    features: ['block-resize'],
    run: async (scene) => {
      const vm = await startLinux(scene);
      const image = makeImage(scene.path());
      const drive = await addNode(vm, 'raw', image);
      const disk = await diskOn(scene, vm, drive);
      await vm.qmp('block_resize', { 'node-name': drive, size: 2 * mebibyte });
      await vm.shellUntil(`blockdev --getsize64 ${disk}`, /^2097152$/);
    },
  },
  {
    operation: 'a failed request, which QEMU tells of',
    way: 'transparent',
    run: async (scene) => {
      const vm = await startLinux(scene);
      const image = makeImage(scene.path());
      const drive = scene.name('drive');
      const failing = {
        driver: 'blkdebug',
        image: { driver: 'file', filename: image },
        'inject-error': [{ event: 'write_aio', errno: constants.errno.EIO, once: false }],
      };
      await vm.qmp('blockdev-add', { driver: 'raw', 'node-name': drive, file: failing });
      const disk = await diskOn(scene, vm, drive);
      using events = vm.sandbox.vmm.qmp.subscribe(['BLOCK_IO_ERROR']);
      await vm.shell(`dd if=/dev/zero of=${disk} bs=4k count=1 oflag=direct 2>/dev/null; true`);
      await events.next(() => true, 20_000);
    },
  },
  {
    operation: 'more notifiers than 64',
    way: 'transparent',
    features: ['iothreads'],
    run: async (scene) => {
      const vm = await scene.linux();
      const [id, iothread] = [scene.name('disk'), scene.name('io')];
      await vm.qmp('object-add', { 'qom-type': 'iothread', id: iothread });
      const drive = await addNode(vm, 'raw', makeImage(scene.path()));
      const queues = { 'num-queues': 70, vectors: 1 };
      await vm.qmp('device_add', { driver: 'virtio-blk-pci', id, drive, serial: id, iothread, ...queues });
      await exerciseDisk(scene, vm, await guestDisk(vm, id));
      const threads = await vm.qmp<readonly { readonly id: string; readonly 'thread-id': number }[]>('query-iothreads');
      const tid = threads.find((thread) => thread.id === iothread)?.['thread-id'];
      // The call in which it waits.
      const waits = (): boolean =>
        epollWaits.includes(readFileSync(`/proc/${tid}/syscall`, 'utf8').split(' ')[0] ?? '');
      await waitFor('the thread to wait by epoll', waits);
      await unplug(vm, id);
      await removeNode(vm, drive);
      await vm.qmp('object-del', { id: iothread });
    },
  },
  {
    operation: 'an exported image, after a migration that did not take the guest away',
    way: 'transparent',
    run: async (scene) => {
      const vm = await scene.start('counter', { args: ['-object', 'iothread,id=io'] });
      const node = await addNode(vm, 'raw', makeImage(scene.path()));
      await fill(vm, node, 17);
      await vm.qmp('nbd-server-start', { addr: { type: 'unix', data: { path: scene.path() } } });
      await vm.qmp('block-export-add', { type: 'nbd', id: 'e', name: 'disk', 'node-name': node, iothread: 'io' });
      const path = scene.path();
      await configure(vm, {}, []);
      await vm.qmp('stop');
      using file = await vm.sandbox.open(path, 'wo', { create: true });
      await vm.qmp('getfd', { fdname: 'out' }, [file.fd]);
      await untilMigration(vm, () => vm.qmp('migrate', { uri: 'fd:out' }), ['completed']);
      await vm.sandbox.vmm.cont();
    },
  },
];
