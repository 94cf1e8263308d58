// SPDX-License-Identifier: Apache-2.0
import { OwnedFd } from '../../core/owned-fd.ts';
import { addressToSockaddr, parseAddress } from '../../core/policy/address/index.ts';
import { native } from '../../native/index.ts';
import { hex } from './rig.ts';

/** A listener whose queue is full: a connect to it waits. */
export function fullListener(path: string): Disposable & { readonly address: string } {
  const address = addressToSockaddr(parseAddress(`unix:${path}`));
  const sockets = Array.from(
    { length: 3 },
    () => new OwnedFd(native.createSocket({ domain: 1, type: 1, protocol: 0 })),
  );
  const [listener, ...fillers] = sockets as [OwnedFd, OwnedFd, OwnedFd];
  native.bindSocket({ fd: listener.fd, address });
  native.listenSocket({ fd: listener.fd, backlog: 0 });
  for (const { fd } of fillers) {
    try {
      native.connectSocket({ fd, address });
    } catch {
      // Full already.
    }
  }
  return {
    address: hex(address),
    [Symbol.dispose]: () => {
      for (const socket of sockets) socket.close();
    },
  };
}
