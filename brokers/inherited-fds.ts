// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync } from 'node:fs';
import { type NativeError, native } from '../native/index.ts';

const closeOnExec = 0o2000000;

/**
 * Closes what the launcher's own parents left open: Node passes on every descriptor that is not close-on-exec. Our own channel and profile stay,
 * and Node's internal ones, which all are close-on-exec.
 */
export function closeInheritedFds(keep: readonly number[]): void {
  for (const fd of readdirSync('/proc/self/fd').map(Number)) {
    if (keep.includes(fd) || !isInherited(fd)) continue;
    try {
      native.closeFd({ fd });
    } catch (error) {
      // The descriptor of the listing itself is gone by now.
      if ((error as NativeError).code !== 'EBADF') throw error;
    }
  }
}

function isInherited(fd: number): boolean {
  try {
    const flags = /^flags:\s*0*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '0';
    return (Number.parseInt(flags, 8) & closeOnExec) === 0;
  } catch {
    // Closed since it was listed.
    return false;
  }
}
