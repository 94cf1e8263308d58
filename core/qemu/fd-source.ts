// SPDX-License-Identifier: Apache-2.0
import type { OwnedFd } from '../owned-fd.ts';
import type { BrokerRequestKind } from '../policy/types.ts';
import type { VmmNeed } from '../vmm/vmm.ts';

/** A permission for the time of one operation. */
export interface Lease {
  readonly request: BrokerRequestKind;
  readonly target: string;
  /** How many descriptors it is for, when that is known. */
  readonly uses?: number;
  /** What ends it, for people. */
  readonly until: string;
}

/** For a source that grants nothing, because nothing needs it. */
export const noLease: AsyncDisposable = { [Symbol.asyncDispose]: async () => undefined };

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
  /**
   * Grants what an operation needs until it is disposed of, where the profile lets that be granted. Where it does not, nothing is granted, and what the
   * profile itself grants or refuses holds.
   */
  lease(lease: Lease): Promise<AsyncDisposable>;
  /** @throws RatchetError VMM_ARGUMENT_CONFLICT when the VMM would be refused that from now on. Absent where it is refused nothing. */
  assertAllows?(need: VmmNeed): void;
  /** Copies of the VMM's own TCP sockets that are connected to the address. Absent where there is no way to them. */
  ownConnections?(address: string): readonly OwnedFd[];
}
