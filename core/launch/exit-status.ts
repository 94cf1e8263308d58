// SPDX-License-Identifier: Apache-2.0
import type { ChildProcess } from 'node:child_process';
import { constants } from 'node:os';
import { native } from '../../native/index.ts';
import { OwnedFd } from '../owned-fd.ts';

/** How a process ended: its exit code, or the signal that ended it. */
export interface ExitStatus {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export function exitOf(child: ChildProcess): Promise<ExitStatus> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null)
      resolve({ code: child.exitCode, signal: child.signalCode });
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
}

/** Of a child that is not one of Node's: nobody else reaps it, so its number is its own until this does. */
export function exitOfSibling(pid: number): Promise<ExitStatus> {
  const pidfd = new OwnedFd(native.openPidfd({ pid, thread: false }));
  return new Promise((resolve) => {
    const watch = native.watchFd({ fd: pidfd.fd, readable: true, writable: false }, () => {
      const ended = native.reapChild({ pidfd: pidfd.fd });
      if (ended === undefined) return;
      watch.close();
      pidfd.close();
      resolve({ code: ended.code, signal: ended.signal === null ? null : signalName(ended.signal) });
    });
  });
}

function signalName(number: number): NodeJS.Signals {
  const known = Object.entries(constants.signals).find(([, value]) => value === number);
  return (known?.[0] ?? `SIG${number}`) as NodeJS.Signals;
}

/** The status as a shell gives it: the code, or 128 + the signal's number. */
export function shellStatus({ code, signal }: ExitStatus): number {
  if (signal !== null) return 128 + (constants.signals[signal] ?? 0);
  return code ?? 0;
}

/** In words. A SIGSYS death is a seccomp kill, which shells only show as 159. */
export function describeExit(status: ExitStatus): string {
  if (status.signal === 'SIGSYS') return 'was killed by its seccomp filter (SIGSYS)';
  if (status.signal !== null) return `was ended by ${status.signal}`;
  return `exited with status ${status.code}`;
}
