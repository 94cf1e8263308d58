// SPDX-License-Identifier: Apache-2.0
// An export under a kernel that enforces it: that of a guest. Programs there are root with every capability and no filter, so what is refused AppArmor refuses.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ArchiveEntry, packArchive } from '../../../core/demo/cpio.ts';
import { findGuestKernel } from '../../../core/demo/guest-kernel.ts';
import { packagePath } from '../../../native/package-path.ts';
import { exportSmall, smallProfile } from './facts.ts';

const folder = mkdtempSync(join(tmpdir(), 'ratchet-apparmor-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Attempts of test/hostile/programs/escape.c, by what AppArmor answers. Unconfined the kernel does all of this. */
const attempts = {
  openat: 'EACCES',
  chmod: 'EACCES',
  chown: 'EACCES',
  'socket-packet': 'EACCES',
  'socket-raw': 'EACCES',
  'socket-udp': 'EACCES',
  'socket-unix-dgram': 'EACCES',
  ptrace: 'EACCES',
  kill: 'EACCES',
  mount: 'EPERM',
  sethostname: 'EPERM',
  syslog: 'EPERM',
} as const;

/** Shell builtins, so that nothing has to be started; what each says when it may. */
const deeds = {
  'reads what layers list': 'read -r line </readable/file',
  'writes what open grants': 'echo written >/images/disk.qcow2',
  'reads what open grants for reading': 'read -r line </firmware/deep/bios',
  'writes what open grants for reading': 'echo written >/firmware/deep/bios',
  'writes what layers list for reading': 'echo written >/readable/file',
  'reads another file': 'read -r line </secret',
  'reads an image of another name': 'read -r line </images/disk.raw',
  'starts a program': '/bin/busybox true',
  'signals init': 'kill -0 1',
  'signals itself': 'kill -0 $$',
} as const;

const permitted = [
  'reads what layers list',
  'writes what open grants',
  'reads what open grants for reading',
  'signals itself',
];

const script = Object.entries(deeds)
  .map(([name, deed]) => `if (${deed}); then echo "yes: ${name}"; else echo "no: ${name}"; fi`)
  .join('\n');

const init = `#!/bin/busybox sh
/bin/busybox mkdir -p /dev /proc /sys /tmp /readable /images /firmware/deep /etc
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
mount -t securityfs none /sys/kernel/security
exec </dev/null >/dev/ttyS0 2>&1
stty -F /dev/ttyS0 raw
for file in /readable/file /images/disk.qcow2 /images/disk.raw /firmware/deep/bios /secret /etc/shadow; do echo text >$file; done
sleep 1000 & sibling=$!
try() { (for each in ${Object.keys(attempts).join(' ')}; do echo "$each $sibling"; done) | "$@" | cat; }
confined() { echo "exec ratchet-small" >/proc/self/attr/apparmor/exec; exec "$@"; }
cat /policy >/sys/kernel/security/apparmor/.replace || echo "the policy was not loaded"
echo "-- free"
try /bin/escape
/bin/busybox sh /readable/script | cat
echo "-- confined"
try confined /bin/escape
(confined /bin/busybox sh /readable/script) | cat
echo "-- end"
poweroff -f
`;

let free: readonly string[];
let confined: readonly string[];

beforeAll(() => {
  const { document } = exportSmall({
    text: smallProfile({
      read: ['/bin', '/readable'],
      sockets: 'domain in [AF_UNIX, AF_INET] and type == SOCK_STREAM',
    }),
    allow: ['open=/images/*.qcow2', 'open=/firmware/**:ro'],
  });
  writeFileSync(join(folder, 'profile'), document);
  const policy = join(folder, 'policy');
  const features = '/etc/apparmor.d/abi/3.0';
  execFileSync('apparmor_parser', [
    '-Q',
    '-K',
    '-q',
    '--kernel-features',
    features,
    '-o',
    policy,
    join(folder, 'profile'),
  ]);
  const prisoner = join(folder, 'escape');
  execFileSync('cc', [
    '-O2',
    '-static',
    '-D_GNU_SOURCE',
    '-pthread',
    '-w',
    '-o',
    prisoner,
    packagePath('test/hostile/programs/escape.c'),
  ]);
  const file = (path: string, data: Uint8Array | string, executable = false): ArchiveEntry => ({
    kind: 'file',
    path,
    data: Buffer.from(data),
    executable,
  });
  const busybox = execFileSync('sh', ['-c', 'command -v busybox'], { encoding: 'utf8' }).trim();
  const entries = [
    ...['bin', 'dev', 'readable'].map((path): ArchiveEntry => ({ kind: 'folder', path })),
    { kind: 'character-device', path: 'dev/console', major: 5, minor: 1 } as const,
    file('bin/busybox', readFileSync(busybox), true),
    file('bin/escape', readFileSync(prisoner), true),
    file('readable/script', script),
    file('policy', readFileSync(policy)),
    file('init', init, true),
  ];
  writeFileSync(join(folder, 'initrd'), packArchive(entries));
  const { image } = findGuestKernel(packagePath('.cache'));
  const machine = [
    '-nodefaults',
    '-display',
    'none',
    '-no-reboot',
    '-machine',
    'pc,accel=tcg',
    '-cpu',
    'qemu64',
    '-m',
    '256',
  ];
  const boot = [
    '-kernel',
    image,
    '-initrd',
    join(folder, 'initrd'),
    '-append',
    'console=ttyS0 quiet loglevel=0 panic=-1 random.trust_cpu=on rdinit=/init',
  ];
  const text = execFileSync('qemu-system-x86_64', [...machine, ...boot, '-serial', 'stdio'], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 120_000,
  });
  const part = (from: string, to: string) =>
    text.split(`-- ${from}`)[1]?.split(`-- ${to}`)[0]?.trim().split(/\r?\n/) ?? [text];
  free = part('free', 'confined');
  confined = part('confined', 'end');
}, 150_000);

describe('under a kernel with AppArmor', () => {
  test('a program has what its profile lists, and nothing else', () => {
    const all = Object.keys(deeds);
    expect(free.filter((line) => /^(yes|no): /.test(line))).toEqual(all.map((name) => `yes: ${name}`));
    expect(confined.filter((line) => /^(yes|no): /.test(line))).toEqual(
      all.map((name) => `${permitted.includes(name) ? 'yes' : 'no'}: ${name}`),
    );
  });

  test('a program that was taken over is refused what root can do there', () => {
    const answers = (lines: readonly string[]) =>
      lines.slice(lines.indexOf('ready') + 1).slice(0, Object.keys(attempts).length);
    expect(answers(free).filter((answer) => !answer.startsWith('= '))).toEqual([]);
    expect(answers(confined)).toEqual(Object.values(attempts));
  });
});
