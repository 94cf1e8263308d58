// SPDX-License-Identifier: Apache-2.0
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { type ArchiveEntry, packArchive } from '../../../core/demo/cpio.ts';
import type { Guest } from '../../../core/demo/guest.ts';
import { findGuestKernel, resolveModules } from '../../../core/demo/guest-kernel.ts';
import { findProgram } from '../../../core/launch/find-program.ts';

const wantedModules = [
  'virtio_pci',
  'virtio_net',
  'virtio_blk',
  'virtio_scsi',
  'sd_mod',
  'sr_mod',
  'nvme',
  'virtio_rng',
  'virtio_balloon',
  'virtio_console',
  'virtio_mem',
  'virtiofs',
  'vmw_vsock_virtio_transport',
  'tpm_tis',
  'button',
  'evdev',
  'virtio_input',
];

/** Printed after what a command printed, with its exit status. */
export const promptPattern = /--matrix-- (\d+)$/;

/** Runs each line that arrives on the console in a shell of its own: that of virtio where the machine has one, else the serial port. */
function initScript(modules: readonly string[]): string {
  return `#!/bin/busybox sh
/bin/busybox mkdir -p /dev /proc /sys /tmp
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
${modules.map((file) => `insmod /modules/${basename(file)}`).join('\n')}
tty=ttyS0
for id in /sys/bus/virtio/devices/*/device; do
  [ "$(cat "$id")" = 0x0003 ] && tty=hvc0
done
until [ -c /dev/$tty ]; do sleep 0.1; done
exec </dev/$tty >/dev/$tty 2>&1
stty -F /dev/$tty raw -echo
echo "--matrix-- 0"
while read -r line; do
  (eval "$line")
  echo "--matrix-- $?"
done
poweroff -f
`;
}

/** A Linux that does what it is told over its console. */
export function buildLinuxGuest(folder: string, cacheFolder: string): Guest {
  const kernel = findGuestKernel(cacheFolder);
  const modules = resolveModules(kernel, wantedModules);
  const initrd = join(folder, 'linux.cpio');
  if (!existsSync(initrd)) {
    writeFileSync(`${initrd}.part`, packArchive(contents(modules)));
    renameSync(`${initrd}.part`, initrd);
  }
  return { kernel: kernel.image, initrd };
}

function contents(modules: readonly string[]): readonly ArchiveEntry[] {
  const file = (path: string, data: Uint8Array, executable: boolean): ArchiveEntry => ({
    kind: 'file',
    path,
    data,
    executable,
  });
  return [
    ...['bin', 'dev', 'modules'].map((path): ArchiveEntry => ({ kind: 'folder', path })),
    { kind: 'character-device', path: 'dev/console', major: 5, minor: 1 },
    file('bin/busybox', readFileSync(findProgram('busybox')), true),
    ...modules.map((path) => file(`modules/${basename(path)}`, readFileSync(path), false)),
    file('init', Buffer.from(initScript(modules)), true),
  ];
}
