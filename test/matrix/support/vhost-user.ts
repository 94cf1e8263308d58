// SPDX-License-Identifier: Apache-2.0
// Devices in another process, which shares the guest's memory. QEMU is given shared memory from the start for that.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { waitFor } from '../../launch/processes.ts';
import type { Scene } from '../scene.ts';
import type { Vm } from '../vm.ts';

export async function withSharedMemory(scene: Scene): Promise<Vm> {
  const memory = ['-object', 'memory-backend-memfd,id=shared,size=256M,share=on', '-machine', 'memory-backend=shared'];
  return await scene.start('linux', { args: memory });
}

/** Runs the device's process until the row ends; resolves when its socket is there. */
export async function startDevice(
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

export async function connectChardev(vm: Vm, path: string): Promise<void> {
  const addr = { type: 'unix', data: { path } };
  await vm.qmp('chardev-add', { id: 'device', backend: { type: 'socket', data: { addr, server: false } } });
}
