// SPDX-License-Identifier: Apache-2.0
import { type Address, socketFamily } from '../core/policy/address/index.ts';

/** The family that a socket for this address is made with. */
export function familyOf(address: Address): number {
  switch (address.kind) {
    case 'tcp':
      return address.ip.length === 4 ? socketFamily.inet : socketFamily.inet6;
    case 'unix':
    case 'unix-abstract':
      return socketFamily.unix;
    case 'vsock':
      return socketFamily.vsock;
    case 'netlink':
      return socketFamily.netlink;
  }
}
