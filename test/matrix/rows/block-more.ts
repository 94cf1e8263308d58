// SPDX-License-Identifier: Apache-2.0
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { waitFor } from '../../launch/processes.ts';
import type { Row } from '../row.ts';
import { addNode, checkFilled, fill, makeImage, makeQcow2, removeNode, runJob } from '../support/block.ts';
import { unplug } from '../support/disk.ts';

interface Sized {
  readonly 'virtual-size': number;
}

interface FdSet {
  readonly 'fdset-id': number;
}

function loopDevice(image: string): string | undefined {
  try {
    return execFileSync('losetup', ['--show', '-f', image], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return undefined;
  }
}

export const blockMore: readonly Row[] = [
  {
    operation: 'blockdev-change-medium and eject',
    way: 'transparent',
    run: async (scene) => {
      const vm = await scene.counter();
      const [id, filename] = [scene.name('cd'), makeImage(scene.path())];
      const bus = scene.name('scsi');
      await vm.qmp('device_add', { driver: 'virtio-scsi-pci', id: bus });
      await vm.qmp('device_add', { driver: 'scsi-cd', bus: `${bus}.0`, id });
      await vm.qmp('blockdev-change-medium', { id, filename, format: 'raw', 'read-only-mode': 'read-only' });
      await vm.until<readonly { readonly qdev?: string; readonly inserted?: { readonly file: string } }[]>(
        'query-block',
        (devices) => devices.some(({ qdev, inserted }) => qdev === id && inserted?.file === filename),
      );
      await vm.qmp('eject', { id, force: true });
      await vm.until<readonly { readonly qdev?: string; readonly inserted?: object }[]>('query-block', (devices) =>
        devices.some(({ qdev, inserted }) => qdev === id && inserted === undefined),
      );
    },
  },
  {
    operation: 'blockdev-change-medium to an fdset',
    way: 'fd',
    run: async (scene) => {
      const vm = await scene.counter();
      const id = scene.name('cd');
      const bus = scene.name('scsi');
      const image = makeImage(scene.path());
      using file = await vm.sandbox.open(image, 'ro');
      const { 'fdset-id': set } = await vm.qmp<FdSet>('add-fd', {}, [file.fd]);
      await vm.qmp('device_add', { driver: 'virtio-scsi-pci', id: bus });
      await vm.qmp('device_add', { driver: 'scsi-cd', bus: `${bus}.0`, id });
      const filename = `/dev/fdset/${set}`;
      await vm.qmp('blockdev-change-medium', { id, filename, format: 'raw', 'read-only-mode': 'read-only' });
      await vm.until<readonly { readonly qdev?: string; readonly inserted?: { readonly image: Sized } }[]>(
        'query-block',
        (devices) => devices.some(({ qdev, inserted }) => qdev === id && inserted?.image['virtual-size'] === 1 << 20),
      );
      await vm.qmp('eject', { id, force: true });
    },
  },
  {
    operation: 'vhost-user-blk export to another machine',
    way: 'transparent',
    features: ['vhost-user'],
    longOnly: true,
    // It asks whether it could serve a postcopy migration.
    expects: ({ syscall }) => syscall === 'userfaultfd',
    run: async (scene) => {
      const exporter = await scene.start('counter');
      const [image, path] = [makeImage(scene.path()), scene.path()];
      const node = await addNode(exporter, 'raw', image);
      const addr = { type: 'unix', path };
      const how = { type: 'vhost-user-blk', id: 'e', 'node-name': node, writable: true, addr };
      await exporter.qmp('block-export-add', how);
      const memory = [
        '-object',
        'memory-backend-memfd,id=shared,size=256M,share=on',
        '-machine',
        'memory-backend=shared',
      ];
      const user = await scene.start('linux', { args: memory });
      const data = { addr: { type: 'unix', data: { path } }, server: false };
      await user.qmp('chardev-add', { id: 'device', backend: { type: 'socket', data } });
      await user.qmp('device_add', { driver: 'vhost-user-blk-pci', id: 'disk', chardev: 'device' });
      await user.shellUntil('ls /dev/vda', /^\/dev\/vda$/);
      await user.shell(
        "tr '\\0' '\\245' </dev/zero | head -c 65536 | dd of=/dev/vda bs=64k count=1 iflag=fullblock conv=fsync 2>/dev/null",
      );
      checkFilled(image, 0xa5);
    },
  },
  {
    operation: 'pr-manager-helper (persistent reservations)',
    way: 'transparent',
    missing: () => (existsSync('/usr/bin/qemu-pr-helper') ? undefined : 'qemu-pr-helper is not installed'),
    run: async (scene) => {
      const vm = await scene.counter();
      const [path, pidFile, id] = [scene.path(), scene.path(), scene.name('pr')];
      const helper = spawn('qemu-pr-helper', ['-k', path, '-f', pidFile], { stdio: 'ignore' });
      scene.onEnd(async () => {
        helper.kill();
        if (helper.exitCode === null && helper.signalCode === null) await once(helper, 'exit');
      });
      await waitFor('qemu-pr-helper', () => existsSync(pidFile) && existsSync(path));
      await vm.qmp('object-add', { 'qom-type': 'pr-manager-helper', id, path });
      const found = await vm.qmp<readonly { readonly id: string; readonly connected: boolean }[]>('query-pr-managers');
      if (!found.some((manager) => manager.id === id && manager.connected)) throw new Error(JSON.stringify(found));
      await vm.qmp('object-del', { id });
    },
  },
  {
    operation: 'host_device: a disk of the host',
    way: 'transparent',
    features: ['host-disks'],
    missing: () => (existsSync('/dev/loop-control') ? undefined : 'this kernel has no loop devices'),
    longOnly: true,
    run: async (scene) => {
      const image = makeImage(scene.path());
      const device = loopDevice(image);
      if (device === undefined) throw new Error('losetup found no free loop device');
      scene.onEnd(() => execFileSync('losetup', ['-d', device]));
      const vm = await scene.start('counter', { allow: [{ request: 'open', target: device }] });
      const node = scene.name('host');
      await vm.qmp('blockdev-add', { driver: 'host_device', 'node-name': node, filename: device });
      await fill(vm, node, 0xa5);
      await removeNode(vm, node);
      checkFilled(image, 0xa5);
    },
  },
  {
    operation: 'limits on a device (block_set_io_throttle)',
    way: 'in-process',
    run: async (scene) => {
      const vm = await scene.counter();
      const node = await addNode(vm, 'raw', makeImage(scene.path()));
      const [bus, id] = [scene.name('scsi'), scene.name('disk')];
      await vm.qmp('device_add', { driver: 'virtio-scsi-pci', id: bus });
      await vm.qmp('device_add', { driver: 'scsi-hd', bus: `${bus}.0`, id, drive: node });
      const off = { bps: 0, bps_rd: 0, bps_wr: 0, iops_rd: 0, iops_wr: 0 };
      await vm.qmp('block_set_io_throttle', { id, iops: 123, ...off });
      const found =
        await vm.qmp<readonly { readonly qdev?: string; readonly inserted?: { readonly iops: number } }[]>(
          'query-block',
        );
      if (!found.some(({ inserted }) => inserted?.iops === 123)) throw new Error('the limit is not there');
      await vm.qmp('block_set_io_throttle', { id, iops: 0, ...off });
      await unplug(vm, id);
      await removeNode(vm, node);
    },
  },
  {
    operation: 'copy before write (backup of a running disk)',
    way: 'transparent',
    run: async (scene) => {
      const vm = await scene.counter();
      const node = await addNode(vm, 'raw', makeImage(scene.path()));
      await fill(vm, node, 17);
      const copy = makeImage(scene.path());
      const target = await addNode(vm, 'raw', copy);
      const filter = scene.name('cbw');
      await vm.qmp('blockdev-add', { driver: 'copy-before-write', 'node-name': filter, file: node, target });
      await vm.hmp(`qemu-io ${filter} "write -P 165 0 64k"`);
      await vm.hmp(`qemu-io ${target} "flush"`);
      await removeNode(vm, filter, target, node);
      checkFilled(copy, 17);
    },
  },
  {
    operation: 'blockdev-mirror with copy-mode write-blocking',
    way: 'transparent',
    run: async (scene) => {
      const vm = await scene.counter();
      const node = await addNode(vm, 'qcow2', makeQcow2(scene.path()));
      await fill(vm, node, 17);
      const copy = makeImage(scene.path());
      const target = await addNode(vm, 'raw', copy);
      const how = { device: node, target, sync: 'full', 'copy-mode': 'write-blocking' };
      await runJob(vm, 'blockdev-mirror', { 'job-id': 'follow', ...how });
      await removeNode(vm, node, target);
      checkFilled(copy, 17);
    },
  },
  {
    operation: 'image of another format: VMDK, VHDX, VDI',
    way: 'transparent',
    features: ['block-resize'],
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.counter();
      for (const format of ['vmdk', 'vhdx', 'vdi'] as const) {
        const image = scene.path();
        execFileSync('qemu-img', ['create', '-q', '-f', format, image, '4M']);
        const node = await addNode(vm, format, image);
        await fill(vm, node, 0xa5);
        await removeNode(vm, node);
        checkFilled(image, 0xa5, format);
      }
    },
  },
  ...(
    [
      ['vduse export', 'this kernel has no /dev/vduse'],
      ['nvme:// (a drive of the host without its driver)', 'this machine has no IOMMU and no /dev/vfio'],
      ['host_cdrom', 'this machine has no drive'],
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
