// SPDX-License-Identifier: Apache-2.0
import { constants } from 'node:fs';
import { OwnedFd } from '../../core/owned-fd.ts';
import { addressToSockaddr, parseAddress } from '../../core/policy/address/index.ts';
import { type FdSource, noLease } from '../../core/qemu/fd-source.ts';
import { native } from '../../native/index.ts';

const sockStream = 1;

/** Makes the descriptors itself, by the addon's calls, as the broker would. Taps come from `tap`, when given. */
export function directFdSource(tap?: FdSource['tap']): FdSource & { readonly opened: readonly string[] } {
  const opened: string[] = [];
  return {
    opened,
    async connect(text) {
      const { socket, sockaddr } = socketFor(text);
      try {
        if (native.connectSocket({ fd: socket.fd, address: sockaddr }) === 'inprogress') await connected(socket.fd);
        return socket;
      } catch (error) {
        socket.close();
        throw error;
      }
    },
    async bind(text, backlog) {
      const { socket, sockaddr } = socketFor(text);
      try {
        native.bindSocket({ fd: socket.fd, address: sockaddr });
        if (backlog > 0) native.listenSocket({ fd: socket.fd, backlog });
        return socket;
      } catch (error) {
        socket.close();
        throw error;
      }
    },
    async open(path, access) {
      opened.push(`${path}:${access}`);
      const flags = access === 'ro' ? constants.O_RDONLY : constants.O_RDWR;
      const atCurrentFolder = -100;
      return new OwnedFd(native.openFile({ directoryFd: atCurrentFolder, path, flags, mode: 0, resolve: 0 }));
    },
    async lease() {
      return noLease;
    },
    async tap(name) {
      if (tap === undefined) throw new Error('this source makes no tap devices');
      return await tap(name);
    },
  };
}

function socketFor(text: string): { readonly socket: OwnedFd; readonly sockaddr: Buffer } {
  const sockaddr = Buffer.from(addressToSockaddr(parseAddress(text)));
  // sa_family is the first field, in the machine's byte order.
  const domain = sockaddr.readUInt16LE(0);
  return { socket: new OwnedFd(native.createSocket({ domain, type: sockStream, protocol: 0 })), sockaddr };
}

async function connected(fd: number): Promise<void> {
  await new Promise<void>((resolve) => {
    const watch = native.watchFd({ fd, readable: false, writable: true }, () => {
      watch.close();
      resolve();
    });
  });
  const solSocket = 1;
  const soError = 4;
  const error = native.getSocketOption({ fd, level: solSocket, name: soError });
  if (error !== 0) throw new Error(`connect failed with errno ${error}`);
}
