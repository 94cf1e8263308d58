// SPDX-License-Identifier: Apache-2.0
import { lstatSync, rmSync } from 'node:fs';
import { type NativeError, native } from '../../native/index.ts';
import { OwnedFd } from '../owned-fd.ts';
import { addressToSockaddr, socketFamily } from '../policy/address/index.ts';

const streamType = 1;

/** Removes a socket file that nobody listens on: what a launcher and its broker leave behind when both are killed. False when it is in use, or no socket. */
export function removeStaleSocket(path: string): boolean {
  const before = lstatSync(path, { throwIfNoEntry: false });
  if (before === undefined || !before.isSocket() || !isRefused(path)) return false;
  // Not one that somebody has bound since.
  const now = lstatSync(path, { throwIfNoEntry: false });
  if (now?.ino !== before.ino || now.dev !== before.dev) return false;
  rmSync(path, { force: true });
  return true;
}

/** ECONNREFUSED comes before the question of the type: no process has the socket any more. */
function isRefused(path: string): boolean {
  using socket = new OwnedFd(native.createSocket({ domain: socketFamily.unix, type: streamType, protocol: 0 }));
  try {
    native.connectSocket({ fd: socket.fd, address: addressToSockaddr({ kind: 'unix', path }) });
    return false;
  } catch (error) {
    return (error as NativeError).code === 'ECONNREFUSED';
  }
}
