// SPDX-License-Identifier: Apache-2.0
// An export under a kernel that enforces it: that of a guest. Programs there are root with every capability and no filter, so what is refused AppArmor refuses.
// The stager gives the label there too, as a launcher has it do.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { labelText, macWords } from '../../../core/layers/mac.ts';
import { between, compiled, file, runMacGuest, withFolder } from '../../layers/mac/guest.ts';
import { exportSmall, smallProfile } from './facts.ts';

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

const script = `read -r go\n${Object.entries(deeds)
  .map(([name, deed]) => `if (${deed}); then echo "yes: ${name}"; else echo "no: ${name}"; fi`)
  .join('\n')}`;

/** As macWords() and stagerWords() have it; in a pid namespace, where the stager is not who was started. */
const staged = (label: string): string =>
  [
    '/bin/under-stager apparmor /bin/ratchet-stager --status-fd 3 --no-filter --keep 0,1,2 --namespaces 536870912',
    `--lock-securebits --drop-capabilities ${macWords({ apparmor: label }).join(' ')}`,
    '--exec /bin/busybox -- busybox sh /readable/script',
  ].join(' ');

const inGuest = `mkdir -p /tmp /readable /images /firmware/deep /etc
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
echo "-- staged"
${staged('ratchet-small')}
echo "-- unknown"
${staged('ratchet-large')}
echo "-- before"
(echo "exec ratchet-small" >/proc/self/attr/apparmor/exec; read -r label </proc/self/attr/apparmor/exec; echo "$label")
echo "-- end"`;

let free: readonly string[];
let confined: readonly string[];
let staging: Readonly<Record<'staged' | 'unknown' | 'before', readonly string[]>>;

/** As AppArmor's own compiler makes it of the export. */
function policy(document: string): Buffer {
  return withFolder((folder) => {
    writeFileSync(join(folder, 'profile'), document);
    const binary = join(folder, 'policy');
    const options = ['-Q', '-K', '-q', '--kernel-features', '/etc/apparmor.d/abi/3.0', '-o', binary];
    execFileSync('apparmor_parser', [...options, join(folder, 'profile')]);
    return readFileSync(binary);
  });
}

beforeAll(() => {
  const { document } = exportSmall({
    text: smallProfile({
      read: ['/bin', '/readable'],
      sockets: 'domain in [AF_UNIX, AF_INET] and type == SOCK_STREAM',
    }),
    allow: ['open=/images/*.qcow2', 'open=/firmware/**:ro'],
  });
  const text = runMacGuest({
    script: inGuest,
    entries: [
      { kind: 'folder', path: 'readable' },
      file('bin/escape', compiled('test/hostile/programs/escape.c'), true),
      file('readable/script', script),
      file('policy', policy(document)),
    ],
  });
  free = between(text, 'free', 'confined');
  confined = between(text, 'confined', 'staged');
  staging = {
    staged: between(text, 'staged', 'unknown'),
    unknown: between(text, 'unknown', 'before'),
    before: between(text, 'before', 'end'),
  };
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

  test('the stager has a program executed under the label, and the kernel shows it as it is looked for', () => {
    const label = labelText({ apparmor: 'ratchet-small' });
    expect(staging.staged.slice(0, 2)).toEqual(['said: {"step":"filter","signalScope":false}', `label: ${label}`]);
    // In a pid namespace of its own the first process is itself.
    const mayStaged = [...permitted, 'signals init'];
    expect(staging.staged.filter((line) => /^(yes|no): /.test(line))).toEqual(
      Object.keys(deeds).map((name) => `${mayStaged.includes(name) ? 'yes' : 'no'}: ${name}`),
    );
    expect(staging.before).toEqual([label]);
  });

  test('a label that is not loaded stops the launch', () => {
    const enoent = 2;
    expect(staging.unknown).toEqual([`said: {"step":"mac","errno":${enoent}}`]);
  });
});
