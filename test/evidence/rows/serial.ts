// SPDX-License-Identifier: Apache-2.0
// A serial port is served by the thread of the vCPU that writes to it.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { waitFor } from '../../launch/processes.ts';
import type { Row } from '../../matrix/row.ts';
import { foreignTerminal } from '../../matrix/rows/chardev-more.ts';
import type { Scene } from '../../matrix/scene.ts';
import { unplug } from '../../matrix/support/disk.ts';
import type { Vm } from '../../matrix/vm.ts';

interface SerialPort {
  /** In the guest. */
  readonly path: string;
  remove(): Promise<void>;
}

async function plugSerial(scene: Scene, vm: Vm, chardev: string): Promise<SerialPort> {
  const id = scene.name('serial');
  await vm.qmp('device_add', { driver: 'pci-serial', id, chardev });
  const found = await vm.shellUntil('ls -d /sys/bus/pci/drivers/serial/0000:*/tty/ttyS*', /tty\/ttyS\d+$/);
  return { path: `/dev/${found.split('/').at(-1)}`, remove: () => unplug(vm, id) };
}

export const serial: readonly Row[] = [
  {
    operation: 'a serial port on a file',
    way: 'transparent',
    run: async (scene) => {
      const vm = await scene.linux();
      const [out, chardev] = [scene.path(), scene.name('file')];
      await vm.qmp('chardev-add', { id: chardev, backend: { type: 'file', data: { out } } });
      const port = await plugSerial(scene, vm, chardev);
      await vm.shell(`echo from the guest >${port.path}`);
      await waitFor('the line in the file', () => readFileSync(out, 'utf8').includes('from the guest'));
      await port.remove();
      await vm.qmp('chardev-remove', { id: chardev });
    },
  },
  {
    operation: 'a serial port on a pseudo-terminal, with nobody there',
    way: 'in-process',
    run: async (scene) => {
      const vm = await scene.start('linux', { args: ['-chardev', 'pty,id=pty'] });
      const port = await plugSerial(scene, vm, 'pty');
      await vm.shell(`echo to nobody >${port.path}`);
    },
  },
  {
    operation: 'a serial port on a terminal of the host, whose speed the guest sets',
    way: 'transparent',
    run: async (scene) => {
      const vm = await scene.linux();
      const chardev = scene.name('terminal');
      const { path } = await foreignTerminal(scene);
      await vm.qmp('chardev-add', { id: chardev, backend: { type: 'serial', data: { device: path } } });
      const port = await plugSerial(scene, vm, chardev);
      await vm.shell(`stty -F ${port.path} 4800`);
      const speed = execFileSync('stty', ['-F', path, 'speed'], { encoding: 'utf8' }).trim();
      if (speed !== '4800') throw new Error(`the terminal's speed is ${speed}`);
      await port.remove();
      await vm.qmp('chardev-remove', { id: chardev });
    },
  },
];
