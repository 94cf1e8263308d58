// SPDX-License-Identifier: Apache-2.0
import type { Scene } from '../scene.ts';
import { guestMs, type Vm } from '../vm.ts';

export const guestIp = '192.0.2.2';
export const peerIp = '192.0.2.1';

export interface Nic {
  readonly mac: string;
  /** In the guest. */
  readonly interface: string;
  remove(): Promise<void>;
}

/** Puts a NIC of the Linux guest on a netdev that exists already, with an address. Both are gone after `remove()`. */
export async function addNic(scene: Scene, vm: Vm, netdev: string): Promise<Nic> {
  const id = scene.name('nic');
  const mac = `52:54:00:00:${hex(macs >> 8)}:${hex(macs++ & 0xff)}`;
  await vm.qmp('device_add', { driver: 'virtio-net-pci', id, netdev, mac, romfile: '' });
  const found = await vm.shellUntil(`grep -l ${mac} /sys/class/net/*/address`, /address$/);
  const name = found.split('/').at(-2) ?? '';
  await vm.shell(`ip address add ${guestIp}/24 dev ${name}; ip link set ${name} up`);
  return {
    mac,
    interface: name,
    remove: async () => {
      using events = vm.sandbox.vmm.qmp.subscribe(['DEVICE_DELETED']);
      await vm.qmp('device_del', { id });
      await events.next(({ data }) => data['device'] === id, guestMs);
      await vm.qmp('netdev_del', { id: netdev });
    },
  };
}
let macs = 1;

function hex(byte: number): string {
  return byte.toString(16).padStart(2, '0');
}
