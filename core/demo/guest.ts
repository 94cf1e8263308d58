// SPDX-License-Identifier: Apache-2.0
import { createHash, randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { RatchetError } from '../errors.ts';
import { findProgram } from '../launch/find-program.ts';
import { type ArchiveEntry, packArchive } from './cpio.ts';
import { initScript } from './guest-init.ts';
import { findGuestKernel, resolveModules } from './guest-kernel.ts';

export interface Guest {
  readonly kernel: string;
  readonly initrd: string;
}

/** What the guest needs of its kernel beyond what is built in: ACPI hotplug is, virtio is not. */
const wantedModules = ['virtio_pci', 'virtio_net', 'virtio_blk'];

/**
 * The guest of the demo and the tests: Debian's cloud kernel and an initrd of busybox, the virtio modules and one script. The initrd is
 * built once for each set of inputs and kept in the cache folder under their hash.
 * @throws RatchetError SETUP_MISSING.
 */
export async function buildGuest({ cacheFolder }: { readonly cacheFolder: string }): Promise<Guest> {
  const kernel = findGuestKernel(cacheFolder);
  const archive = packArchive(contents(readBusybox(), resolveModules(kernel, wantedModules)));
  const hash = createHash('sha256').update(archive).digest('hex').slice(0, 16);
  const folder = join(cacheFolder, 'guest');
  const initrd = join(folder, `initrd-${hash}.cpio`);
  if (!existsSync(initrd)) {
    mkdirSync(folder, { recursive: true });
    // Another process may build the same file: it appears whole or not at all.
    const partial = `${initrd}.${randomUUID()}`;
    writeFileSync(partial, archive);
    renameSync(partial, initrd);
  }
  return { kernel: kernel.image, initrd };
}

/**
 * Arguments for a machine that boots the guest under TCG, its serial line on stdout. There is a free place for a second vCPU and free
 * PCI slots for hotplug; nothing else is on the machine.
 */
export function guestArguments({
  kernel,
  initrd,
  memoryMb = 128,
}: Guest & { readonly memoryMb?: number }): readonly string[] {
  return [
    '-no-user-config',
    '-nodefaults',
    '-machine',
    'pc,accel=tcg,vmport=off',
    '-cpu',
    'qemu64',
    '-smp',
    '1,maxcpus=2',
    '-m',
    `${memoryMb}`,
    '-display',
    'none',
    // No terminal handling: stdout is a pipe or a file, and signals are the launcher's business.
    '-chardev',
    'stdio,id=console,signal=off',
    '-serial',
    'chardev:console',
    '-kernel',
    kernel,
    '-initrd',
    initrd,
    '-append',
    'console=ttyS0 quiet loglevel=1 panic=-1 random.trust_cpu=on rdinit=/init',
    '-no-reboot',
  ];
}

function contents(busybox: Uint8Array, modules: readonly string[]): readonly ArchiveEntry[] {
  const folders = ['bin', 'dev', 'modules', 'proc', 'sys'];
  return [
    ...folders.map((path): ArchiveEntry => ({ kind: 'folder', path })),
    { kind: 'character-device', path: 'dev/console', major: 5, minor: 1 },
    { kind: 'file', path: 'bin/busybox', data: busybox, executable: true },
    ...applets.map((name): ArchiveEntry => ({ kind: 'link', path: `bin/${name}`, target: 'busybox' })),
    ...modules.map(
      (file): ArchiveEntry => ({
        kind: 'file',
        path: `modules/${basename(file)}`,
        data: readFileSync(file),
        executable: false,
      }),
    ),
    { kind: 'file', path: 'init', data: Buffer.from(initScript(modules)), executable: true },
  ];
}

/** What the script calls; the shell and its builtins are busybox itself. */
const applets = ['dd', 'head', 'insmod', 'ip', 'mount', 'ping', 'sh', 'sleep', 'stty', 'tr'];

function readBusybox(): Uint8Array {
  const path = findProgram('busybox');
  const data = readFileSync(path);
  // A dynamic one would miss its libraries in the initrd: PT_INTERP names the loader.
  if (data.includes('/ld-linux'))
    throw new RatchetError('SETUP_MISSING', `${path} is not a static busybox`, {
      next: 'install the Debian package busybox-static',
    });
  return data;
}
