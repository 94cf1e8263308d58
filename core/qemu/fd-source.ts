// SPDX-License-Identifier: Apache-2.0
import type { OwnedFd } from '../owned-fd.ts';

/**
 * Where the adapter gets descriptors that the VMM may not make itself. A `Sandbox` is one (its broker makes them); so is anything that
 * makes them directly. Addresses and paths have the one grammar of `core/policy/address`. Every fd belongs to the caller.
 */
export interface FdSource {
  /** A connected stream socket. */
  connect(address: string): Promise<OwnedFd>;
  /** A bound stream socket; it listens when `backlog` is above 0. */
  bind(address: string, backlog: number): Promise<OwnedFd>;
  open(path: string, access: 'ro' | 'rw' | 'wo'): Promise<OwnedFd>;
  /** A tap device that is up, without packet information and with virtio-net headers. `name` is the kernel's. */
  tap(name: string): Promise<{ readonly fd: OwnedFd; readonly name: string }>;
}
