// SPDX-License-Identifier: Apache-2.0
// A guest that resets a disk while requests wait: the thread of its vCPU waits for all of them, and starts the worker threads that they need.
import { execFileSync } from 'node:child_process';
import { readTasks } from '../../../core/stages/tasks.ts';
import { statusField, waitFor } from '../../launch/processes.ts';
import type { Row } from '../../matrix/row.ts';
import type { Scene } from '../../matrix/scene.ts';
import { makeImage } from '../../matrix/support/block.ts';
import { guestDisk } from '../../matrix/support/disk.ts';
import { serveNbd } from '../../matrix/support/nbd.ts';
import type { Vm } from '../../matrix/vm.ts';

const mebibyte = 1024 * 1024;
const requests = 4;
/** So far apart that each wants a table of its own in the qcow2 image below. */
const apart = 32 * mebibyte;
const size = requests * apart;
/** QEMU's worker threads end when they had nothing to do for ten seconds. */
const workersEndMs = 60_000;

const names = ['-name', 'vm,debug-threads=on'];

/** Adds a disk on this node; resolves when the guest has reset it and all that it had asked for before is done. */
async function resetInUse(scene: Scene, vm: Vm, file: Readonly<Record<string, unknown>>): Promise<void> {
  const [group, drive, id] = [scene.name('limit'), scene.name('drive'), scene.name('disk')];
  // A byte a second: the first write passes, the others wait until the device's reset lets them all go.
  const limits = { 'bps-write': 1 };
  await vm.qmp('object-add', { 'qom-type': 'throttle-group', id: group, limits });
  await vm.qmp('blockdev-add', { driver: 'throttle', 'node-name': drive, 'throttle-group': group, file });
  await vm.qmp('device_add', { driver: 'virtio-blk-pci', id, drive, serial: id });
  const disk = await guestDisk(vm, id);
  const name = disk.split('/').at(-1);
  await vm.shell("tr '\\0' '\\245' </dev/zero | head -c 4096 >/tmp/block");
  const offsets = [...Array(requests).keys()].map((index) => (index * apart) / 4096);
  for (const offset of offsets)
    await vm.shell(`dd if=/tmp/block of=${disk} bs=4k seek=${offset} oflag=direct 2>/dev/null &`);
  await vm.shellUntil(`awk '{print $2}' /sys/block/${name}/inflight`, new RegExp(`^${requests - 1}$`));
  // By then QEMU has taken what the guest had rung for.
  await waitFor('the end of all workers', () => !hasWorkers(vm), workersEndMs);
  // The status register of a virtio device, by its ports.
  const device = await vm.shell(`readlink -f /sys/block/${name}/device/..`);
  await vm.shell(`printf '\\0' | dd of=${device}/resource0 bs=1 seek=18 count=1 conv=notrunc 2>/dev/null`);
  // A format keeps its tables to itself until then.
  await vm.hmp(`qemu-io ${drive} "flush"`);
}

function hasWorkers(vm: Vm): boolean {
  return readTasks(vm.sandbox.pid).some(({ tid }) => statusField(tid, 'Name') === 'worker');
}

/** @throws when one of the requests is not in the image. */
function checkWritten(image: string, format: string): void {
  const reads = [...Array(requests).keys()].flatMap((index) => ['-c', `read -P 165 ${index * apart} 4096`]);
  const said = execFileSync('qemu-io', ['-r', '-U', '-f', format, ...reads, image], { encoding: 'utf8' });
  if (/verification failed/i.test(said)) throw new Error(`${image} has not the data: ${said}`);
}

export const resets: readonly Row[] = [
  {
    operation: 'a disk that the guest resets in use: qcow2 with a backing file',
    way: 'transparent',
    run: async (scene) => {
      const vm = await scene.start('linux', { args: names });
      const [base, image] = [makeImage(scene.path(), size), scene.path()];
      const options = ['-o', 'cluster_size=16k', '-b', base, '-F', 'raw'];
      execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', ...options, image]);
      await resetInUse(scene, vm, { driver: 'qcow2', file: { driver: 'file', filename: image } });
      checkWritten(image, 'qcow2');
    },
  },
  {
    operation: 'a disk that the guest resets in use: raw, aio=native',
    way: 'transparent',
    features: ['aio-native'],
    run: async (scene) => {
      const vm = await scene.start('linux', { args: names });
      const image = makeImage(scene.path(), size);
      const file = { driver: 'file', filename: image, aio: 'native', cache: { direct: true } };
      await resetInUse(scene, vm, { driver: 'raw', file });
      checkWritten(image, 'raw');
    },
  },
  {
    operation: 'a disk that the guest resets in use: NBD',
    way: 'transparent',
    features: ['nbd'],
    run: async (scene) => {
      const vm = await scene.start('linux', { args: names });
      const [image, path] = [makeImage(scene.path(), size), scene.path()];
      await serveNbd(scene, image, '-k', path);
      await resetInUse(scene, vm, { driver: 'nbd', server: { type: 'unix', path }, export: 'disk' });
      checkWritten(image, 'raw');
    },
  },
];
