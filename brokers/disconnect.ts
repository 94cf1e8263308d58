// SPDX-License-Identifier: Apache-2.0
import type { OwnedFd } from '../core/owned-fd.ts';
import { native } from '../native/index.ts';
import { attempt } from './native-errno.ts';

/** connect(2) to AF_UNSPEC takes a TCP connection back, also one that is still being made. Other families have nothing under way to take back. */
export function disconnect(socket: OwnedFd): void {
  attempt(() => native.connectSocket({ fd: socket.fd, address: new Uint8Array(16) }));
}
