// SPDX-License-Identifier: Apache-2.0
import { resolve } from 'node:path';
import { type NativeError, native } from '../../native/index.ts';
import { refuseFds } from '../broker/refuse-fds.ts';
import { removeStaleSocket } from '../control/stale-socket.ts';
import { RatchetError } from '../errors.ts';
import { OwnedFd } from '../owned-fd.ts';
import { addressToSockaddr, socketFamily } from '../policy/address/index.ts';

const seqpacket = 5;
const backlog = 16;

/** The socket by which agents come to the broker, listening; mode 0600. The broker asks the kernel who they are. @throws RatchetError CONTROL_FAILED. */
export function bindAgentDoor(path: string): OwnedFd {
  const socket = new OwnedFd(native.createSocket({ domain: socketFamily.unix, type: seqpacket, protocol: 0 }));
  const address = addressToSockaddr({ kind: 'unix', path: resolve(path) });
  // bind(2) takes the mode from the umask: nobody else may connect in the moment before a chmod.
  const before = process.umask(0o177);
  try {
    try {
      native.bindSocket({ fd: socket.fd, address });
    } catch (error) {
      if ((error as NativeError).code !== 'EADDRINUSE' || !removeStaleSocket(path)) throw error;
      native.bindSocket({ fd: socket.fd, address });
    }
    refuseFds(socket);
    native.listenSocket({ fd: socket.fd, backlog });
    return socket;
  } catch (cause) {
    socket.close();
    throw new RatchetError('CONTROL_FAILED', `the socket for agents ${path} could not be bound`, {
      errno: (cause as NativeError).code,
      next: 'choose another path with --agents',
      cause,
    });
  } finally {
    process.umask(before);
  }
}
