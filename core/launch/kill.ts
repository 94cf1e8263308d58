// SPDX-License-Identifier: Apache-2.0
import { constants } from 'node:os';
import { type NativeError, native } from '../../native/index.ts';
import type { OwnedFd } from '../owned-fd.ts';

/** SIGKILL to exactly the process that the pidfd pins; one that has ended already is as it should be. */
export function killByPidfd(pidfd: OwnedFd): void {
  signalByPidfd(pidfd, constants.signals.SIGKILL);
}

export function signalByPidfd(pidfd: OwnedFd, signal: number): void {
  try {
    native.sendSignal({ pidfd: pidfd.fd, signal });
  } catch (error) {
    if ((error as NativeError).code !== 'ESRCH') throw error;
  }
}
