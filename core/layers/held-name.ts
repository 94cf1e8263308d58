// SPDX-License-Identifier: Apache-2.0
import { type NativeError, native } from '../../native/index.ts';
import { OwnedFd } from '../owned-fd.ts';
import { addressToSockaddr } from '../policy/address/index.ts';

const family = { unix: 1 } as const;
const stream = 1;

/**
 * Holds a name that no other process on this machine holds; undefined when one does. What marks it is an abstract socket of that name: the kernel takes it
 * back with this process, however that ends.
 */
export function holdName(name: string): Disposable | undefined {
  const socket = new OwnedFd(native.createSocket({ domain: family.unix, type: stream, protocol: 0 }));
  try {
    native.bindSocket({ fd: socket.fd, address: addressToSockaddr({ kind: 'unix-abstract', name }) });
    return { [Symbol.dispose]: () => socket.close() };
  } catch (error) {
    socket.close();
    if ((error as NativeError).code !== 'EADDRINUSE') throw error;
    return undefined;
  }
}
