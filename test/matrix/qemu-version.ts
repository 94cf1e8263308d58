// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';

/** As `qemu-system-x86_64 --version` has it, such as 7.2.22. */
export function qemuVersion(): string {
  version ??=
    /version (\d+\.\d+\.\d+)/.exec(execFileSync('qemu-system-x86_64', ['--version'], { encoding: 'utf8' }))?.[1] ?? '?';
  return version;
}
let version: string | undefined;

/** Why a row cannot be run on the QEMU here; undefined where it can. @param since as `8.2` */
export function since(wanted: string): string | undefined {
  return isAtLeast(wanted) ? undefined : `QEMU here is ${qemuVersion()}, and ${wanted} is the first that has it`;
}

/** @param gone the first version without it, as `9.1` */
export function until(gone: string): string | undefined {
  return isAtLeast(gone) ? `QEMU here is ${qemuVersion()}, and ${gone} has it no more` : undefined;
}

export function isAtLeast(wanted: string): boolean {
  const [major = 0, minor = 0] = qemuVersion().split('.').map(Number);
  const [wantedMajor = 0, wantedMinor = 0] = wanted.split('.').map(Number);
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}

/** Why aio=io_uring cannot be had here; undefined where it can. */
export function ringsOfItsOwn(): string | undefined {
  if (!isAtLeast('11.0')) return undefined;
  return `QEMU here is ${qemuVersion()}; since 11.0 its main loop makes a ring where it may, and stage running is entered by no process that has one: aio=native, aio=threads`;
}
