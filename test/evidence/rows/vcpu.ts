// SPDX-License-Identifier: Apache-2.0
// What a vCPU's thread calls by itself, beside what the rows of the matrix have it do.
import { readdirSync, readFileSync } from 'node:fs';
import { waitFor } from '../../launch/processes.ts';
import type { Row } from '../../matrix/row.ts';
import { missingKvm } from '../../matrix/rows/kvm.ts';
import { addNode, makeImage, removeNode } from '../../matrix/support/block.ts';
import { guestDisk, unplug } from '../../matrix/support/disk.ts';
import { guestMs } from '../../matrix/vm.ts';
import { resets } from './reset-in-use.ts';
import { serial } from './serial.ts';

const times = 5;

/** SeaBIOS tells its log here. */
function firmwareLog(path: string): readonly string[] {
  return ['-chardev', `file,id=log,path=${path}`, '-device', 'isa-debugcon,iobase=0x402,chardev=log'];
}

export const vcpu: readonly Row[] = [
  ...serial,
  ...resets,
  {
    operation: 'firmware on two vCPUs under KVM, of which one interrupts the other',
    way: 'in-process',
    missing: missingKvm,
    run: async (scene) => {
      const log = scene.path();
      const machine = ['-smp', '2', '-m', '64', '-bios', 'bios-256k.bin'];
      const vm = await scene.start('counter', { accelerator: 'kvm', args: [...machine, ...firmwareLog(log)] });
      // The firmware counts nothing.
      vm.mayEnd();
      // On the way it has QEMU report each processor's task priority (hw/i386/kvmvapic.c), which QEMU asks the other one's thread for.
      const isThrough = (): boolean => /No bootable device/.test(readFileSync(log, 'utf8'));
      await waitFor('the end of the firmware', () => vm.ended !== undefined || isThrough(), guestMs);
      vm.checkAlive();
    },
  },
  {
    operation: 'a virtio device whose driver the guest takes away and puts back',
    way: 'transparent',
    run: async (scene) => {
      const vm = await scene.linux();
      const drive = await addNode(vm, 'raw', makeImage(scene.path()));
      const id = scene.name('disk');
      await vm.qmp('device_add', { driver: 'virtio-blk-pci', id, drive, serial: id });
      const name = (await guestDisk(vm, id)).split('/').at(-1);
      const device = (await vm.shell(`readlink -f /sys/block/${name}/device`)).split('/').at(-1);
      const driver = '/sys/bus/virtio/drivers/virtio_blk';
      const before = readdirSync(`/proc/${vm.sandbox.pid}/fd`).length;
      for (let turn = 0; turn < times; turn++)
        await vm.shell(`echo ${device} >${driver}/unbind; echo ${device} >${driver}/bind`);
      const after = readdirSync(`/proc/${vm.sandbox.pid}/fd`).length;
      // A queue's notifier is made anew each time.
      if (after >= before + times) throw new Error(`QEMU had ${before} descriptors and has ${after}`);
      await unplug(vm, id);
      await removeNode(vm, drive);
    },
  },
];
