// SPDX-License-Identifier: Apache-2.0
// Labels of mandatory access control: whether this kernel enforces any, what the stager is told, and which label a program has.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import type { Mechanism } from '../launch/report.ts';
import type { Mac } from '../policy/index.ts';

/** What this machine lacks to enforce such a label; undefined: nothing. */
export function macLack(mac: Mac): string | undefined {
  if (mac.apparmor !== undefined)
    return textOf('/sys/module/apparmor/parameters/enabled') === 'Y' ? undefined : 'AppArmor is not on in this kernel';
  // The file system is known only to a kernel that was booted with SELinux.
  if (!/\tselinuxfs$/m.test(readFileSync('/proc/filesystems', 'utf8'))) return 'SELinux is not on in this kernel';
  return textOf('/sys/fs/selinux/enforce') === '1' ? undefined : 'SELinux does not enforce (/sys/fs/selinux/enforce)';
}

function textOf(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, 'utf8').trim() : undefined;
}

/** What the stager is told. */
export function macWords(mac: Mac): readonly string[] {
  return ['--mac', mac.apparmor === undefined ? `selinux:${mac.selinux}` : `apparmor:${mac.apparmor}`];
}

/** How the kernel shows the label. */
export function labelText(mac: Mac): string {
  return mac.apparmor === undefined ? (mac.selinux ?? '') : `${mac.apparmor} (enforce)`;
}

/** The label of every thread. `beforeExec`: the one that the exec will give. @throws when the process is gone. */
export function verifyMac(pid: number, mac: Mac, { beforeExec }: { readonly beforeExec: boolean }): Mechanism {
  const wanted = labelText(mac);
  const module = mac.apparmor === undefined ? 'SELinux' : 'AppArmor';
  const found = readdirSync(`/proc/${pid}/task`).map((tid) =>
    labelOf(`/proc/${pid}/task/${tid}/attr`, mac, beforeExec ? 'exec' : 'current'),
  );
  // A thread that has ended since has none.
  const other = found.find((label) => label !== undefined && label !== wanted);
  const lack = macLack(mac);
  if (other !== undefined)
    return { name: 'mac', state: 'partial', reason: `${module}: it is ${JSON.stringify(other)}, not ${wanted}` };
  return lack === undefined
    ? { name: 'mac', state: 'enforced', reason: `${module}: every thread is ${wanted}` }
    : { name: 'mac', state: 'partial', reason: lack };
}

/** Undefined for a thread that has ended. */
function labelOf(folder: string, mac: Mac, file: 'exec' | 'current'): string | undefined {
  const own = mac.apparmor === undefined ? folder : `${folder}/apparmor`;
  try {
    // The kernel may end it with a line or with a zero.
    return readFileSync(`${existsSync(own) ? own : folder}/${file}`, 'utf8').replace(/[\n\0]+$/, '');
  } catch (error) {
    if (!existsSync(folder)) return undefined;
    return String((error as NodeJS.ErrnoException).code);
  }
}
