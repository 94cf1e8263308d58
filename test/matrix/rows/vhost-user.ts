// SPDX-License-Identifier: Apache-2.0
// Devices in another process, which shares the guest's memory. QEMU is given shared memory from the start for that.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { waitFor } from '../../launch/processes.ts';
import type { Row } from '../row.ts';
import type { Scene } from '../scene.ts';
import { makeImage } from '../support/block.ts';
import { exerciseDisk } from '../support/traffic.ts';
import type { Vm } from '../vm.ts';

const virtiofsd = '/usr/lib/qemu/virtiofsd';

async function withSharedMemory(scene: Scene): Promise<Vm> {
  const memory = ['-object', 'memory-backend-memfd,id=shared,size=256M,share=on', '-machine', 'memory-backend=shared'];
  return await scene.start('linux', { args: memory });
}

/** Runs the device's process until the row ends; resolves when its socket is there. */
async function startDevice(
  scene: Scene,
  socket: string,
  [program, ...args]: readonly [string, ...string[]],
): Promise<void> {
  const device = spawn(program, args, { stdio: 'ignore' });
  scene.onEnd(async () => {
    device.kill();
    if (device.exitCode === null && device.signalCode === null) await once(device, 'exit');
  });
  await waitFor(program, () => existsSync(socket));
}

async function connectChardev(vm: Vm, path: string): Promise<void> {
  const addr = { type: 'unix', data: { path } };
  await vm.qmp('chardev-add', { id: 'device', backend: { type: 'socket', data: { addr, server: false } } });
}

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
