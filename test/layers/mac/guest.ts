// SPDX-License-Identifier: Apache-2.0
// A guest whose kernel enforces labels, which this machine's need not. Everybody there is root with every capability and no filter.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ArchiveEntry, packArchive } from '../../../core/demo/cpio.ts';
import { findGuestKernel } from '../../../core/demo/guest-kernel.ts';
import { packagePath } from '../../../native/package-path.ts';

export function file(path: string, data: Uint8Array | string, executable = false): ArchiveEntry {
  return { kind: 'file', path, data: Buffer.from(data), executable };
}

/** A C program of this checkout that needs no library. */
export function compiled(source: string): Buffer {
  return withFolder((folder) => {
    const program = join(folder, 'program');
    execFileSync('cc', ['-O2', '-static', '-D_GNU_SOURCE', '-pthread', '-w', '-o', program, packagePath(source)]);
    return readFileSync(program);
  });
}

export interface MacGuest {
  /** Shell lines, when devices, /proc, /sys and securityfs are mounted and the output goes to us. */
  readonly script: string;
  /** What is in its root besides busybox, the stager and under-stager, which are in /bin. */
  readonly entries: readonly ArchiveEntry[];
  /** Words for the kernel. */
  readonly append?: string;
}

/** Boots it, and gives back what its script said, up to its end. */
export function runMacGuest({ script, entries, append = '' }: MacGuest): string {
  const init = `#!/bin/busybox sh
/bin/busybox mkdir -p /dev /proc /sys
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
mount -t securityfs none /sys/kernel/security
exec </dev/null >/dev/ttyS0 2>&1
stty -F /dev/ttyS0 raw
${script}
poweroff -f
`;
  const busybox = execFileSync('sh', ['-c', 'command -v busybox'], { encoding: 'utf8' }).trim();
  const folders = ['bin', 'dev'].map((path): ArchiveEntry => ({ kind: 'folder', path }));
  const initrd = packArchive([
    ...folders,
    { kind: 'character-device', path: 'dev/console', major: 5, minor: 1 },
    file('bin/busybox', readFileSync(busybox), true),
    file('bin/ratchet-stager', readFileSync(packagePath('build/Release/ratchet-stager')), true),
    file('bin/under-stager', compiled('test/layers/mac/under-stager.c'), true),
    ...entries,
    file('init', init, true),
  ]);
  const { image } = findGuestKernel(packagePath('.cache'));
  const machine = '-nodefaults -display none -no-reboot -machine pc,accel=tcg -cpu qemu64 -m 256 -serial stdio'.split(
    ' ',
  );
  const words = `console=ttyS0 quiet loglevel=0 panic=-1 random.trust_cpu=on rdinit=/init ${append}`.trim();
  return withFolder((folder) => {
    writeFileSync(join(folder, 'initrd'), initrd);
    const boot = ['-kernel', image, '-initrd', join(folder, 'initrd'), '-append', words];
    return execFileSync('qemu-system-x86_64', [...machine, ...boot], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
      timeout: 120_000,
    });
  });
}

/** What was said between these two of its lines. All of it where they are missing. */
export function between(text: string, from: string, to: string): readonly string[] {
  return text.split(`-- ${from}`)[1]?.split(`-- ${to}`)[0]?.trim().split(/\r?\n/) ?? [text];
}

export function withFolder<T>(act: (folder: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), 'ratchet-mac-'));
  try {
    return act(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
