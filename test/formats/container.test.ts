// SPDX-License-Identifier: Apache-2.0
// Exports under a real container runtime, which installs the filter before it starts the program.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { exportStage } from '../../core/formats/export/index.ts';
import { findProgram } from '../../core/launch/find-program.ts';
import { parseProfile } from '../../core/policy/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'ratchet-container-'));
afterAll(() => rmSync(folder, { recursive: true }));

beforeAll(() => {
  for (const name of ['bin', 'dev', 'etc', 'proc', 'sys', 'tmp'])
    mkdirSync(join(folder, 'root', name), { recursive: true });
  copyFileSync(findProgram('busybox'), join(folder, 'root/bin/busybox'));
});

const profile = `version: 1
name: busybox
vmm: program
stages:
  start:
    why: what busybox needs to print a line
    default: errno EPERM
    unknown: errno ENOSYS quiet
    foreign: kill-process
    syscalls:
      - allow: [read, write, writev, openat, close, fstat, mmap, mprotect, munmap, brk, exit_group, arch_prctl, set_tid_address, set_robust_list, rseq, prlimit64, getrandom, rt_sigaction, rt_sigprocmask, getuid, readlink, uname]
        why: set-up, and its output
      - allow: [prctl]
        why: the runtime's last steps
        risk: for the test
`;

/** Runs busybox in a container with the filter; nothing of this machine but the binary is in it. */
function container(args: readonly string[], exec: boolean): { readonly status: number | null; readonly text: string } {
  const options = { file: 'busybox.yaml', arch: 'x86_64', include: () => ({ text: '', file: '' }) } as const;
  const filter = parseProfile(profile, options).stages[0]?.filter;
  if (filter === undefined) throw new Error('no stage');
  const { document } = exportStage(filter, { format: 'oci', name: 'busybox', exec });
  const config = {
    ociVersion: '1.0.0',
    process: { args: ['/bin/busybox', ...args], cwd: '/', user: { uid: 0, gid: 0 }, noNewPrivileges: true, env: [] },
    root: { path: 'root' },
    mounts: [{ destination: '/proc', type: 'proc', source: 'proc' }],
    linux: {
      namespaces: ['pid', 'mount', 'ipc', 'uts', 'network'].map((type) => ({ type })),
      seccomp: JSON.parse(String(document)) as unknown,
    },
  };
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  // crun looks for a cgroup tree of one kind, though it is told to make no cgroup.
  const script = `mount -t tmpfs none /sys/fs && mkdir /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup &&
    exec crun --root ${folder}/state --cgroup-manager=disabled run ratchet-test-${process.pid}`;
  const { status, stdout, stderr } = spawnSync('unshare', ['-m', '--propagation', 'private', 'sh', '-c', script], {
    cwd: folder,
    encoding: 'utf8',
  });
  return { status, text: stdout + stderr };
}

describe('a container whose localhostProfile is an export', () => {
  test('cannot be started by a runtime under a stage that starts no program', () => {
    expect(container(['echo', 'it runs'], false)).toMatchObject({
      status: 1,
      text: expect.stringContaining('Operation not permitted'),
    });
  });

  test('is started with --exec, and is refused everything else that the stage refuses', () => {
    expect(container(['echo', 'it runs'], true)).toEqual({ status: 0, text: 'it runs\n' });
    const refused = container(['mkdir', '/tmp/made'], true);
    expect(refused.status).toBe(1);
    expect(refused.text).toContain('Operation not permitted');
  });
});
