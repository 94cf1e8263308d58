// SPDX-License-Identifier: Apache-2.0
import type { Scene } from '../scene.ts';
import { guestMs, type Vm } from '../vm.ts';
import type { Peer } from './peer.ts';

/** A virtio serial port of the Linux guest on a chardev that exists already. The guest's side is a file. */
export interface Port {
  readonly vm: Vm;
  /** In the guest. */
  readonly path: string;
  readonly chardev: string;
  /** The guest's side only. */
  unplug(): Promise<void>;
  remove(): Promise<void>;
}

/** The bus for ports is plugged in with the first of them. */
const buses = new WeakSet<Vm>();

export async function addPort(scene: Scene, vm: Vm, chardev: string): Promise<Port> {
  if (!buses.has(vm)) {
    await vm.qmp('device_add', { driver: 'virtio-serial-pci', id: 'ports' });
    buses.add(vm);
  }
  const id = scene.name('port');
  await vm.qmp('device_add', { driver: 'virtserialport', bus: 'ports.0', id, name: id, chardev });
  const found = await vm.shellUntil(`grep -l ${id} /sys/class/virtio-ports/*/name`, /name$/);
  const unplug = async (): Promise<void> => {
    using events = vm.sandbox.vmm.qmp.subscribe(['DEVICE_DELETED']);
    await vm.qmp('device_del', { id });
    await events.next(({ data }) => data['device'] === id, guestMs);
  };
  return {
    vm,
    chardev,
    unplug,
    path: `/dev/${found.split('/').at(-2)}`,
    remove: async () => {
      await unplug();
      await vm.qmp('chardev-remove', { id: chardev });
    },
  };
}

/** Bytes of the guest reach the peer, and the peer's the guest. */
export async function talk({ vm, path }: Port, peer: Peer): Promise<void> {
  await vm.shell(`echo from the guest >${path}`);
  await peer.until(/from the guest/);
  peer.send('from outside\n');
  const heard = await vm.shell(`head -n 1 ${path}`);
  if (heard !== 'from outside') throw new Error(`the guest heard ${JSON.stringify(heard)}`);
}
