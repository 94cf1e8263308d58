// SPDX-License-Identifier: Apache-2.0
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Row } from '../row.ts';
import { makeImage } from '../support/block.ts';
import { exerciseDisk } from '../support/traffic.ts';
import { connectChardev, startDevice, withSharedMemory } from '../support/vhost-user.ts';

const virtiofsd = '/usr/lib/qemu/virtiofsd';

export const vhostUser: readonly Row[] = [
  {
    operation: 'vhost-user-blk of a storage daemon',
    way: 'transparent',
    features: ['vhost-user'],
    longOnly: true,
    run: async (scene) => {
      const vm = await withSharedMemory(scene);
      const [image, socket] = [makeImage(scene.path()), scene.path()];
      await startDevice(scene, socket, [
        'qemu-storage-daemon',
        ...['--blockdev', `file,node-name=image,filename=${image}`],
        ...['--export', `vhost-user-blk,id=e,node-name=image,writable=on,addr.type=unix,addr.path=${socket}`],
      ]);
      await connectChardev(vm, socket);
      await vm.qmp('device_add', { driver: 'vhost-user-blk-pci', id: 'disk', chardev: 'device' });
      await vm.shellUntil('ls /dev/vda', /^\/dev\/vda$/);
      await exerciseDisk(scene, vm, '/dev/vda');
    },
  },
  {
    operation: 'virtiofs',
    way: 'transparent',
    features: ['virtiofs'],
    longOnly: true,
    missing: () => (existsSync(virtiofsd) ? undefined : `there is no ${virtiofsd}`),
    run: async (scene) => {
      const vm = await withSharedMemory(scene);
      const [folder, socket] = [scene.path(), scene.path()];
      mkdirSync(folder);
      writeFileSync(join(folder, 'file'), 'from outside');
      await startDevice(scene, socket, [virtiofsd, '-f', `--socket-path=${socket}`, '-o', `source=${folder}`]);
      await connectChardev(vm, socket);
      await vm.qmp('device_add', { driver: 'vhost-user-fs-pci', id: 'folder', chardev: 'device', tag: 'shared' });
      await vm.shellUntil('mkdir -p /mnt; mount -t virtiofs shared /mnt; cat /mnt/file', /^from outside$/);
    },
  },
];
