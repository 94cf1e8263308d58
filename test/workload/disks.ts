// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { ringsOfItsOwn } from '../matrix/qemu-version.ts';
import type { Scene } from '../matrix/scene.ts';
import { addNode, makeImage, makeQcow2 } from '../matrix/support/block.ts';
import { guestDisk } from '../matrix/support/disk.ts';
import { serveNbd } from '../matrix/support/nbd.ts';
import { connectChardev, startDevice } from '../matrix/support/vhost-user.ts';
import type { Vm } from '../matrix/vm.ts';
import { bytesPerTurn, type Load, type MachineName } from './load.ts';

const imageBytes = 2 * bytesPerTurn;
export const iothreadId = 'shipped';

const writeAndRead = (disk: string): string =>
  `dd if=OUT of=${disk} bs=64k oflag=direct conv=fsync && dd if=${disk} of=IN bs=64k count=${bytesPerTurn / 65_536} iflag=direct`;

function disk(
  name: string,
  on: MachineName,
  node: (scene: Scene, vm: Vm) => Promise<string>,
  options: Readonly<Record<string, unknown>> = {},
): Load {
  const prepare: Load['prepare'] = async (scene, machines) => {
    const vm = machines[on];
    const id = scene.name('disk');
    await vm.qmp('device_add', {
      driver: 'virtio-blk-pci',
      id,
      serial: id,
      drive: await node(scene, vm),
      ...options,
    });
    return writeAndRead(await guestDisk(vm, id));
  };
  return { name: `disk: ${name}`, on, prepare };
}

const raw =
  (file: Readonly<Record<string, unknown>> = {}) =>
  async (scene: Scene, vm: Vm): Promise<string> =>
    await addNode(vm, 'raw', makeImage(scene.path(), imageBytes), { file });
const direct = { cache: { direct: true } } as const;

function qcow2(scene: Scene, backing?: string): string {
  const path = makeQcow2(scene.path(), backing);
  if (backing === undefined) execFileSync('qemu-img', ['resize', '-q', path, `${imageBytes}`]);
  return path;
}

/** A disk whose name in the guest is not looked up by its serial number. */
function otherDisk(name: string, guestName: string, add: (vm: Vm, scene: Scene, drive: string) => Promise<void>): Load {
  const prepare: Load['prepare'] = async (scene, { base }) => {
    await add(base, scene, await raw()(scene, base));
    await base.shellUntil('ls /sys/block', new RegExp(`\\b${guestName}\\b`));
    return writeAndRead(`/dev/${guestName}`);
  };
  return { name: `disk: ${name}`, on: 'base', prepare };
}

export const disks: readonly Load[] = [
  disk('raw, aio=threads, O_DIRECT', 'base', raw({ aio: 'threads', ...direct })),
  disk('raw, through the page cache', 'base', raw()),
  disk('qcow2', 'base', async (scene, vm) => await addNode(vm, 'qcow2', qcow2(scene))),
  disk(
    'qcow2 with a backing file',
    'base',
    async (scene, vm) => await addNode(vm, 'qcow2', qcow2(scene, qcow2(scene))),
  ),
  disk('raw, on an iothread of the command line', 'base', raw(), { iothread: iothreadId }),
  disk('NBD (qemu-nbd, unix)', 'base', async (scene, vm) => {
    const path = scene.path();
    await serveNbd(scene, makeImage(scene.path(), imageBytes), '-k', path);
    const node = scene.name('nbd');
    await vm.qmp('blockdev-add', { driver: 'nbd', 'node-name': node, server: { type: 'unix', path }, export: 'disk' });
    return node;
  }),
  otherDisk('raw, behind virtio-scsi', 'sda', async (vm, scene, drive) => {
    const bus = scene.name('scsi');
    await vm.qmp('device_add', { driver: 'virtio-scsi-pci', id: bus });
    await vm.qmp('device_add', { driver: 'scsi-hd', bus: `${bus}.0`, drive });
  }),
  otherDisk('raw, behind NVMe', 'nvme0n1', async (vm, scene, drive) => {
    await vm.qmp('device_add', { driver: 'nvme', drive, serial: scene.name('nvme') });
  }),
  disk('raw, aio=native', 'features', raw({ aio: 'native', ...direct })),
  { ...disk('raw, aio=io_uring', 'features', raw({ aio: 'io_uring', ...direct })), missing: ringsOfItsOwn },
  disk(
    'qcow2 with discards',
    'features',
    async (scene, vm) => await addNode(vm, 'qcow2', qcow2(scene), { discard: 'unmap', file: { discard: 'unmap' } }),
  ),
  {
    name: 'disk: vhost-user-blk of a storage daemon',
    on: 'features',
    prepare: async (scene, { features: vm }) => {
      const [image, socket] = [makeImage(scene.path(), imageBytes), scene.path()];
      await startDevice(scene, socket, [
        'qemu-storage-daemon',
        ...['--blockdev', `file,node-name=image,filename=${image}`],
        ...['--export', `vhost-user-blk,id=e,node-name=image,writable=on,addr.type=unix,addr.path=${socket}`],
      ]);
      const before = await vm.shell('ls /sys/block');
      await connectChardev(vm, socket);
      await vm.qmp('device_add', { driver: 'vhost-user-blk-pci', chardev: 'device' });
      const after = await vm.shellUntil(`ls /sys/block | grep -vxE '${before.replaceAll(/\s+/g, '|')}'`, /^vd[a-z]$/);
      return writeAndRead(`/dev/${after}`);
    },
  },
];
