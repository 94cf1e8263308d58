// SPDX-License-Identifier: Apache-2.0
import { type NativeError, native } from '../../native/index.ts';
import { RatchetError } from '../errors.ts';
import { OwnedFd } from '../owned-fd.ts';
import { addressToSockaddr } from '../policy/address/index.ts';

const family = { unix: 1 } as const;
const stream = 1;

/** A user id that no other launcher on this machine has given out. It is kept for as long as this process holds it, however that ends. */
export interface HeldUser extends Disposable {
  readonly user: number;
}

/**
 * The first id of the range that is free. What marks it as taken is an abstract socket of that name: the kernel takes it back with the process.
 * @throws RatchetError ARGUMENT_INVALID when all are taken.
 */
export function holdUser({ first, last }: { readonly first: number; readonly last: number }): HeldUser {
  for (let user = first; user <= last; user++) {
    const socket = new OwnedFd(native.createSocket({ domain: family.unix, type: stream, protocol: 0 }));
    try {
      const address = addressToSockaddr({ kind: 'unix-abstract', name: `ratchet-user-${user}` });
      native.bindSocket({ fd: socket.fd, address });
      return { user, [Symbol.dispose]: () => socket.close() };
    } catch (error) {
      socket.close();
      if ((error as NativeError).code !== 'EADDRINUSE') throw error;
    }
  }
  throw new RatchetError('ARGUMENT_INVALID', `every user id from ${first} to ${last} is taken`, {
    next: 'give a larger range',
  });
}
