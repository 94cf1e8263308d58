// SPDX-License-Identifier: Apache-2.0
// The stager under a kernel that enforces SELinux, with a policy of three types. What the policy does not define is permitted.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { labelText, macWords } from '../../../core/layers/mac.ts';
import { between, file, runMacGuest, withFolder } from './guest.ts';

/** `base_t` is everybody and everything. `vmm_t` may read files, and `base_t` may become it at an exec; not so `other_t`. */
const policy = `
class process
class process2
class file
sid kernel
sid security
sid unlabeled
class process { fork transition dyntransition signal setexec getattr }
class process2 { nnp_transition }
class file { read write open entrypoint execute execute_no_trans getattr map }
policycap nnp_nosuid_transition;
type base_t;
type vmm_t;
type other_t;
role r;
role r types { base_t vmm_t other_t };
allow base_t base_t : process { fork transition signal setexec getattr };
allow base_t base_t : file { read write open entrypoint execute execute_no_trans getattr map };
allow base_t vmm_t : process { transition signal getattr };
allow base_t vmm_t : process2 { nnp_transition };
allow base_t vmm_t : file { read open getattr };
allow vmm_t base_t : file { read open entrypoint execute getattr map };
allow vmm_t vmm_t : process { fork signal };
user u roles { r };
sid kernel u:r:base_t
sid security u:r:base_t
sid unlabeled u:r:base_t
`;

function compile(): Buffer {
  return withFolder((folder) => {
    writeFileSync(join(folder, 'policy.conf'), policy);
    const binary = join(folder, 'policy');
    execFileSync('checkpolicy', ['-U', 'allow', '-c', '33', '-o', binary, join(folder, 'policy.conf')], {
      stdio: 'ignore',
    });
    return readFileSync(binary);
  });
}

const staged = (context: string): string =>
  [
    '/bin/under-stager . /bin/ratchet-stager --status-fd 3 --no-filter --keep 0,1,2 --drop-capabilities',
    `${macWords({ selinux: context }).join(' ')} --exec /bin/busybox -- busybox sh /script`,
  ].join(' ');

const script = `read -r go
(read -r line </secret) 2>/dev/null && echo "reads"
(echo more >/secret) 2>/dev/null || echo "does not write"`;

let said: (from: string, to: string) => readonly string[];

beforeAll(() => {
  const text = runMacGuest({
    append: 'security=selinux selinux=1',
    entries: [file('policy', compile()), file('secret', 'text\n'), file('script', script)],
    script: `mount -t selinuxfs none /sys/fs/selinux
echo "-- without a policy"
${staged('u:r:vmm_t')}
dd if=/policy of=/sys/fs/selinux/load bs=64k 2>/dev/null || echo "the policy was not loaded"
echo 1 >/sys/fs/selinux/enforce
echo "-- permitted"
${staged('u:r:vmm_t')}
echo "-- unknown"
${staged('u:r:none_t')}
echo "-- not permitted"
${staged('u:r:other_t')}
echo "-- end"`,
  });
  said = (from, to) => between(text, from, to);
}, 150_000);

const born = 'said: {"step":"filter","signalScope":false}';

describe('under a kernel with SELinux', () => {
  test('the stager has a program executed in the context, and the kernel shows it as it is looked for', () => {
    const label = labelText({ selinux: 'u:r:vmm_t' });
    expect(said('permitted', 'unknown')).toEqual([born, `label: ${label}`, 'reads', 'does not write']);
  });

  test('a context that is not known, or not permitted, stops the launch', () => {
    const [eperm, einval] = [1, 22];
    expect(said('unknown', 'not permitted')).toEqual([`said: {"step":"mac","errno":${einval}}`]);
    expect(said('not permitted', 'end')).toEqual([born, `said: {"step":"exec","errno":${eperm}}`]);
  });

  test('a kernel without a policy takes any context, and its label shows that it means nothing', () => {
    expect(said('without a policy', 'permitted').slice(0, 2)).toEqual([born, 'label: kernel']);
  });
});
