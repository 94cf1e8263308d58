// SPDX-License-Identifier: Apache-2.0
import type { Address } from './address.ts';
import { formatIp } from './ip.ts';

/** Canonical text, which `parseAddress` reads back to the same address. */
export function formatAddress(address: Address): string {
  switch (address.kind) {
    case 'tcp': {
      const host = formatIp(address.ip);
      const scope = address.scope === 0 ? '' : `%${address.scope}`;
      return address.ip.length === 4 ? `tcp:${host}:${address.port}` : `tcp:[${host}${scope}]:${address.port}`;
    }
    case 'unix':
      return `unix:${address.path}`;
    case 'unix-abstract':
      return `unix-abstract:${address.name}`;
    case 'vsock':
      return `vsock:${address.cid}:${address.port}`;
    case 'netlink':
      return `netlink:${address.protocol}`;
  }
}
