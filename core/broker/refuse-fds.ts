// SPDX-License-Identifier: Apache-2.0
import { type NativeError, native } from '../../native/index.ts';
import type { OwnedFd } from '../owned-fd.ts';

/** asm-generic/socket.h since Linux 6.16. */
const passRights = { level: 1, name: 83 } as const;

/**
 * Nobody can send an fd to this unix socket, or to one that it accepts, any more (EPERM): an fd whose close hangs would hold up who receives it. An older kernel delivers
 * them, and they are closed.
 */
export function refuseFds(socket: OwnedFd): void {
  try {
    native.setSocketOption({ fd: socket.fd, ...passRights, value: 0 });
  } catch (error) {
    if ((error as NativeError).code !== 'ENOPROTOOPT') throw error;
  }
}
