// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A folder for one test file's inputs and outputs. */
export class Folder implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'ratchet-cli-'));

  /** Writes the text and gives the file's path. */
  write(name: string, text: string): string {
    writeFileSync(this.file(name), text);
    return this.file(name);
  }

  file(name: string): string {
    return join(this.path, name);
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true });
  }
}

/** Two stages, of which the second takes `openat` and some sockets away. Lines are counted on by tests. */
export const smallProfile = `version: 1
name: small
vmm: qemu
stages:
  start:
    why: everything at first
    default: errno EPERM
    unknown: errno ENOSYS quiet
    foreign: kill-process
    syscalls:
      - allow: [read, write, openat]
        why: data and files
      - allow: [socket]
        when: domain in [AF_UNIX, AF_INET] and type == SOCK_STREAM
        why: backends
      - refuse: [socket]
        errno: EAFNOSUPPORT
        when: otherwise
        why: no other families
      - broker: [connect]
        why: addresses are judged by the broker
  running:
    why: less later
    from: start
    remove: [openat, socket]
    syscalls:
      - allow: [socket]
        when: domain == AF_UNIX and type == SOCK_STREAM
        why: local backends
      - refuse: [socket]
        errno: EAFNOSUPPORT
        when: otherwise
        why: no other families
`;

/** The same with a second stage that permits what the first refuses. */
export const looseProfile = `${smallProfile}      - allow: [dup]
        why: forgotten in the first stage
`;

/** With three mistakes, each on a line of its own. */
export const wrongProfile = smallProfile
  .replace('[read, write, openat]', '[raed, write, openat]')
  .replace('errno: EAFNOSUPPORT', 'errno: EAFNOSUPORT')
  .replace('domain == AF_UNIX', 'domian == AF_UNIX');

/** As Docker writes them, with a call that no kernel has and a comparison of arguments. */
export const dockerProfile = JSON.stringify({
  defaultAction: 'SCMP_ACT_ERRNO',
  defaultErrnoRet: 1,
  archMap: [{ architecture: 'SCMP_ARCH_X86_64', subArchitectures: ['SCMP_ARCH_X86', 'SCMP_ARCH_X32'] }],
  syscalls: [
    { names: ['read', 'write', 'no_such_call'], action: 'SCMP_ACT_ALLOW' },
    {
      names: ['personality'],
      action: 'SCMP_ACT_ALLOW',
      args: [{ index: 0, value: 8, op: 'SCMP_CMP_EQ' }],
    },
    { names: ['mount'], action: 'SCMP_ACT_ALLOW', includes: { caps: ['CAP_SYS_ADMIN'] } },
  ],
});
