// SPDX-License-Identifier: Apache-2.0
// What the tests ask /proc about other processes. All waits are on the thing itself, with a deadline that names it.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { withDeadline } from '../../core/deferred.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import { native } from '../../native/index.ts';

const pollMs = 10;

/** The first value that is not undefined or false. */
export async function waitFor<T>(
  what: string,
  look: () => T | undefined | false | Promise<T | undefined | false>,
  deadlineMs = 20_000,
): Promise<T> {
  const end = performance.now() + deadlineMs;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > end) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await delay(pollMs);
  }
}

/** Pins a process now, so that its end can be waited for later, and no other one's with the same pid. */
export class Pinned {
  readonly pid: number;
  readonly ended: Promise<void>;

  constructor(pid: number) {
    this.pid = pid;
    const pidfd = new OwnedFd(native.openPidfd({ pid, thread: false }));
    this.ended = new Promise((resolve) => {
      const watch = native.watchFd({ fd: pidfd.fd, readable: true, writable: false }, () => {
        watch.close();
        pidfd.close();
        resolve();
      });
    });
  }

  async end(deadlineMs = 20_000): Promise<void> {
    await withDeadline(this.ended, deadlineMs, () => new Error(`process ${this.pid} is still there`));
  }
}

export function childrenOf(pid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && statusField(Number(name), 'PPid') === String(pid))
    .map(Number);
}

/** A line of /proc/PID/status; undefined when the process or the line is not there. */
export function statusField(pid: number, name: string): string | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/status`, 'utf8');
    return new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(text)?.[1];
  } catch {
    return undefined;
  }
}

export function commandLine(pid: number): string {
  return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
}

/** fd number -> what it is. */
export function fdTable(pid: number): ReadonlyMap<number, string> {
  const folder = `/proc/${pid}/fd`;
  return new Map(
    readdirSync(folder).flatMap((name): [number, string][] => {
      try {
        return [[Number(name), readlinkSync(`${folder}/${name}`)]];
      } catch {
        // The fd that listed the folder, when it is our own.
        return [];
      }
    }),
  );
}

export const seccompListener = 'anon_inode:seccomp notify';
