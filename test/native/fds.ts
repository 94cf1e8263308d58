// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync } from 'node:fs';
import { native } from '../../native/index.ts';

/** Resolves when the fd can be read (or its peer is gone). */
export function readable(fd: number): Promise<{ readable: boolean; writable: boolean; hangup: boolean }> {
  return new Promise((resolve) => {
    const watch = native.watchFd({ fd, readable: true, writable: false }, (events) => {
      watch.close();
      resolve(events);
    });
  });
}

/** How many fds this process has open. */
export function openFds(): number {
  return readdirSync('/proc/self/fd').length;
}

/** Whether the fd has FD_CLOEXEC, as /proc shows it. */
export function closesOnExec(fd: number): boolean {
  const O_CLOEXEC = 0o2000000;
  const flags = /flags:\s*(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '';
  return (Number.parseInt(flags, 8) & O_CLOEXEC) !== 0;
}

/** What `action` throws, as plain data. */
export function failure(action: () => unknown): { code: unknown; errno: unknown; syscall: unknown } {
  try {
    action();
  } catch (error) {
    const { code, errno, syscall } = error as { code: unknown; errno: unknown; syscall: unknown };
    return { code, errno, syscall };
  }
  throw new Error('nothing was thrown');
}
