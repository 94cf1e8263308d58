// SPDX-License-Identifier: Apache-2.0
import { resolve } from 'node:path';
import { type NativeError, native } from '../../native/index.ts';
import { refuseFds } from '../broker/refuse-fds.ts';
import { RatchetError } from '../errors.ts';
import { OwnedFd } from '../owned-fd.ts';
import { addressToSockaddr, socketFamily } from '../policy/address/index.ts';
import { removeStaleSocket } from './stale-socket.ts';

/** SOCK_*. */
export const listeningTypes = { stream: 1, seqpacket: 5 } as const;

const backlog = 128;

export interface ListeningSocket {
  readonly path: string;
  readonly type: keyof typeof listeningTypes;
  /** For people: whose socket, and which option names it. */
  readonly what: string;
  readonly option: string;
}

/** A unix socket that listens, mode 0600, in place of one that nobody listens on any more. @throws RatchetError CONTROL_FAILED. */
export function bindListening({ path, type, what, option }: ListeningSocket): OwnedFd {
  const socket = new OwnedFd(
    native.createSocket({ domain: socketFamily.unix, type: listeningTypes[type], protocol: 0 }),
  );
  const address = addressToSockaddr({ kind: 'unix', path: resolve(path) });
  // bind(2) takes the mode from the umask: nobody else may connect in the moment before a chmod.
  const before = process.umask(0o177);
  try {
    refuseFds(socket);
    try {
      native.bindSocket({ fd: socket.fd, address });
    } catch (error) {
      if ((error as NativeError).code !== 'EADDRINUSE' || !removeStaleSocket(path)) throw error;
      native.bindSocket({ fd: socket.fd, address });
    }
    // At once: a client that waits for the file is refused until it listens.
    native.listenSocket({ fd: socket.fd, backlog });
    return socket;
  } catch (cause) {
    socket.close();
    const errno = (cause as NativeError).code;
    throw new RatchetError('CONTROL_FAILED', `the ${what} ${path} could not be bound`, {
      errno,
      next:
        errno === 'EADDRINUSE' ? 'another VM uses it, or the file is no socket' : `choose another path with ${option}`,
      cause,
    });
  } finally {
    process.umask(before);
  }
}
