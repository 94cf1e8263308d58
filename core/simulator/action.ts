// SPDX-License-Identifier: Apache-2.0
// SECCOMP_RET_*: what a filter returns, how the kernel reads it, and which of several filters wins (<linux/seccomp.h>, seccomp_run_filters).

import type { Action } from '../policy/types.ts';

export const returnValue = {
  killProcess: 0x80000000,
  killThread: 0x00000000,
  trap: 0x00030000,
  errno: 0x00050000,
  userNotification: 0x7fc00000,
  trace: 0x7ff00000,
  log: 0x7ffc0000,
  allow: 0x7fff0000,
} as const;

/** The kernel answers with at most this errno (MAX_ERRNO). */
const maxErrno = 4095;

/** The value a filter returns for a policy's action. `broker` is SECCOMP_RET_USER_NOTIF. */
export function encodeAction(action: Action): number {
  switch (action.kind) {
    case 'allow':
      return returnValue.allow;
    case 'broker':
      return returnValue.userNotification;
    case 'log':
      return returnValue.log;
    case 'errno':
      return (returnValue.errno | Math.min(action.errno, maxErrno)) >>> 0;
    case 'trap':
      return returnValue.trap;
    case 'trace':
      return (returnValue.trace | (action.data & 0xffff)) >>> 0;
    case 'kill-thread':
      return returnValue.killThread;
    case 'kill-process':
      return returnValue.killProcess;
  }
}

/** What the kernel does on a returned value. Values it does not know kill the process. */
export function decodeAction(raw: number): Action {
  const data = raw & 0xffff;
  switch (actionOnly(raw)) {
    case returnValue.allow:
      return { kind: 'allow' };
    case returnValue.userNotification:
      return { kind: 'broker' };
    case returnValue.log:
      return { kind: 'log' };
    case returnValue.errno:
      return { kind: 'errno', errno: Math.min(data, maxErrno), quiet: true };
    case returnValue.trap:
      return { kind: 'trap' };
    case returnValue.trace:
      return { kind: 'trace', data };
    case returnValue.killThread:
      return { kind: 'kill-thread' };
    default:
      return { kind: 'kill-process' };
  }
}

/** The same decision with the bits that the kernel ignores cleared, so that equal decisions are equal numbers. */
export function canonicalAction(raw: number): number {
  const only = actionOnly(raw);
  switch (only) {
    case returnValue.errno:
      return (only | Math.min(raw & 0xffff, maxErrno)) >>> 0;
    case returnValue.trap:
    case returnValue.trace:
      return raw >>> 0;
    case returnValue.allow:
    case returnValue.userNotification:
    case returnValue.log:
    case returnValue.killThread:
    case returnValue.killProcess:
      return only;
    default:
      // The kernel's switch falls to its default: the process dies. Precedence keeps the value, which no known filter uses.
      return raw >>> 0;
  }
}

/** SECCOMP_RET_ACTION_FULL. */
export function actionOnly(raw: number): number {
  return (raw & 0xffff0000) >>> 0;
}

/** A decision that lets the call run, with or without a note of it. */
export function permits(raw: number): boolean {
  const only = actionOnly(raw);
  return only === returnValue.allow || only === returnValue.log;
}

/** A decision that neither runs the call nor asks anyone. */
export function refuses(raw: number): boolean {
  const only = actionOnly(raw);
  return only !== returnValue.userNotification && only !== returnValue.trace && !permits(raw);
}

/**
 * Two filters of one chain: the lower action, read as a signed number, wins, and of two equal actions the newer filter's data
 * (seccomp_run_filters goes from the newest to the oldest and replaces only on strictly lower).
 */
export function combineActions(newer: number, older: number): number {
  return (actionOnly(older) | 0) < (actionOnly(newer) | 0) ? older : newer;
}

/** For people: `ERRNO(13)`, `ALLOW`, `USER_NOTIF`. */
export function describeAction(raw: number): string {
  const action = decodeAction(raw);
  switch (action.kind) {
    case 'errno':
      return `ERRNO(${action.errno})`;
    case 'trace':
      return `TRACE(${action.data})`;
    case 'broker':
      return 'USER_NOTIF';
    default:
      return action.kind.toUpperCase().replace('-', '_');
  }
}
