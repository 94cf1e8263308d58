// SPDX-License-Identifier: Apache-2.0
// `npm run kernels`: what Debian's kernels from 5.10 on can do of what ratchet needs, asked in guests under TCG: the probes of `ratchet doctor`, and whether the
// filters of the shipped profile go in.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { print } from '../../core/cli/output.ts';
import { packArchive } from '../../core/demo/cpio.ts';
import { GuestConsole } from '../../core/demo/guest-console.ts';
import { findProgram } from '../../core/launch/find-program.ts';
import { packagePath } from '../../native/package-path.ts';
import { unpackKernel } from '../matrix/other-debian.ts';

const guestMs = 300_000;
const suites = ['bullseye', 'bookworm', 'trixie', 'sid'];

const script = `#!/bin/busybox sh
/bin/busybox mkdir -p /dev /proc /sys /tmp
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
exec </dev/ttyS0 >/dev/ttyS0 2>&1
stty -F /dev/ttyS0 raw -echo
echo "kernel $(uname -r)"
ratchet-probe
for stage in start running; do
  for way in own all; do echo "filter $stage $way $(install-filter /$stage.bpf $way)"; done
done
echo done
poweroff -f
`;

const command = new Command('kernels')
  .description("asks Debian's kernels, in guests, for what ratchet needs")
  .option('--suites <LIST>', 'of Debian, separated by commas', suites.join(','))
  .action(async (options: { readonly suites: string }) => {
    for (const suite of options.suites.split(',')) await ask(suite);
  });
await command.parseAsync();

async function ask(suite: string): Promise<void> {
  const boot = unpackKernel(suite, join(packagePath('.cache'), 'debian', suite));
  const image = readdirSync(boot).find((name) => name.startsWith('vmlinuz-'));
  if (image === undefined) throw new Error(`no kernel in ${boot}`);
  const folder = mkdtempSync(join(tmpdir(), 'rk-'));
  try {
    const initrd = join(folder, 'initrd.cpio');
    writeFileSync(initrd, packInitrd(folder));
    const qemu = spawn(
      'qemu-system-x86_64',
      [
        ...['-M', 'pc,accel=tcg', '-cpu', 'max', '-m', '512', '-nodefaults', '-display', 'none', '-no-reboot'],
        ...['-serial', 'stdio', '-kernel', join(boot, image), '-initrd', initrd],
        ...['-append', 'console=ttyS0 quiet loglevel=0 panic=-1 lsm=landlock,yama rdinit=/init'],
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    const console = new GuestConsole(qemu.stdout);
    try {
      await console.waitForLine(/^done$/, guestMs);
    } finally {
      qemu.kill();
    }
    for (const line of console.text.split(/\r?\n/)) {
      const answer = describe(line.trim());
      if (answer !== undefined) print(answer);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Of the probes only those that fail or have more to say. */
function describe(line: string): string | undefined {
  if (line.startsWith('kernel ') || line.startsWith('filter ')) return line;
  if (!line.startsWith('{"probe"')) return undefined;
  const { probe, errno, detail } = JSON.parse(line) as { probe: string; errno: number; detail: string };
  if (errno === 0 && detail === '') return undefined;
  return `  ${probe}: ${errno === 0 ? 'there' : `errno ${errno}`}${detail === '' ? '' : `, ${detail}`}`;
}

function packInitrd(folder: string): Buffer {
  const installer = join(folder, 'install-filter');
  execFileSync('gcc', ['-static', '-O1', '-o', installer, packagePath('test/kernels/install-filter.c')]);
  const program = (path: string, from: string) =>
    ({ kind: 'file', path, data: readFileSync(from), executable: true }) as const;
  return packArchive([
    ...['bin', 'dev'].map((path) => ({ kind: 'folder', path }) as const),
    { kind: 'character-device', path: 'dev/console', major: 5, minor: 1 },
    program('bin/busybox', findProgram('busybox')),
    program('bin/ratchet-probe', packagePath('build/Release/ratchet-probe')),
    program('bin/install-filter', installer),
    ...['start', 'running'].map((stage) => {
      const raw = join(folder, stage);
      const main = packagePath('dist/core/cli/main.js');
      execFileSync(process.execPath, [main, 'compile', 'qemu', '--stage', stage, '--format', 'raw', '-o', raw]);
      return { kind: 'file', path: `${stage}.bpf`, data: readFileSync(raw), executable: false } as const;
    }),
    { kind: 'file', path: 'init', data: Buffer.from(script), executable: true },
  ]);
}
