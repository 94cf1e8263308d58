// SPDX-License-Identifier: Apache-2.0
import type { Scene } from '../scene.ts';
import type { Vm } from '../vm.ts';
import { startEcho } from './echo.ts';

const bytesATurn = 1024 * 1024;

/** The guest sends and gets back a megabyte over TCP, again and again. @throws when a byte is not what it was. */
export async function exchangeBytes(
  scene: Scene,
  vm: Vm,
  where: { readonly seenByGuest: string; readonly host: string },
): Promise<void> {
  const port = await startEcho(scene, where.host);
  const turn = `dd if=/dev/urandom of=/tmp/out bs=64k count=${bytesATurn / 65_536} 2>/dev/null; (cat /tmp/out; sleep 1) | nc ${where.seenByGuest} ${port} | head -c ${bytesATurn} >/tmp/in; cmp /tmp/out /tmp/in || exit 1`;
  await repeat(scene, vm, turn);
}

/** The guest writes to a disk past its cache, reads it back and compares, again and again. */
export async function exerciseDisk(scene: Scene, vm: Vm, disk: string): Promise<void> {
  const turn = `dd if=/dev/urandom of=/tmp/out bs=64k count=16 2>/dev/null; dd if=/tmp/out of=${disk} bs=64k oflag=direct conv=fsync 2>/dev/null; dd if=${disk} of=/tmp/in bs=64k count=16 iflag=direct 2>/dev/null; cmp /tmp/out /tmp/in || exit 1`;
  await repeat(scene, vm, turn);
}

/** At least once, and for as long as the run gives each guest to work. */
async function repeat(scene: Scene, vm: Vm, turn: string): Promise<void> {
  const end = performance.now() + scene.workSeconds * 1000;
  do await vm.shell(turn);
  while (performance.now() < end);
}
