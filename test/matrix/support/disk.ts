// SPDX-License-Identifier: Apache-2.0
import { guestMs, type Vm } from '../vm.ts';

/** The guest's name for the virtio-blk disk with this serial number, as /dev/NAME. */
export async function guestDisk(vm: Vm, serial: string): Promise<string> {
  const found = await vm.shellUntil(`grep -l ${serial} /sys/block/vd*/serial`, /serial$/);
  return `/dev/${found.split('/').at(-2)}`;
}

/** Asks the guest to let a device go, and waits until it has. */
export async function unplug(vm: Vm, id: string): Promise<void> {
  using events = vm.sandbox.vmm.qmp.subscribe(['DEVICE_DELETED']);
  await vm.qmp('device_del', { id });
  await events.next(({ data }) => data['device'] === id, guestMs);
}
