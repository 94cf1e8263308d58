// SPDX-License-Identifier: Apache-2.0
import { RatchetError } from '../../errors.ts';

/** One socket address in canonical form. Two equal addresses have the same `formatAddress` text. */
export type Address = TcpAddress | UnixAddress | AbstractAddress | VsockAddress | NetlinkAddress;

export interface TcpAddress {
  readonly kind: 'tcp';
  /** 4 bytes (IPv4) or 16 (IPv6). A v4-mapped IPv6 address is held as IPv4. */
  readonly ip: readonly number[];
  /** Interface index of a link-local IPv6 address; 0 when there is none. */
  readonly scope: number;
  readonly port: number;
}

export interface UnixAddress {
  readonly kind: 'unix';
  /** Absolute and normalised. */
  readonly path: string;
}

export interface AbstractAddress {
  readonly kind: 'unix-abstract';
  /** Printable ASCII; every other byte, the blank and the backslash are written `\xHH`. */
  readonly name: string;
}

export interface VsockAddress {
  readonly kind: 'vsock';
  readonly cid: number;
  readonly port: number;
}

/** The only netlink address there is here: the kernel's route socket, with the port id left to the kernel and no groups. */
export interface NetlinkAddress {
  readonly kind: 'netlink';
  readonly protocol: 'route';
}

/** A set of addresses, as a profile line grants it. */
export type AddressRule =
  | {
      readonly kind: 'tcp';
      readonly ip: readonly number[];
      /** Leading bits of `ip` that must match. */
      readonly prefix: number;
      readonly scope: number;
      readonly firstPort: number;
      readonly lastPort: number;
    }
  | {
      /** A host by its name: what the launch found for it, and nothing before (`ips` absent). */
      readonly kind: 'tcp-name';
      readonly host: string;
      readonly ips?: readonly (readonly number[])[];
      readonly firstPort: number;
      readonly lastPort: number;
    }
  | { readonly kind: 'unix'; readonly pattern: string }
  | AbstractAddress
  | VsockAddress
  | NetlinkAddress;

/** The grammar, as error messages and `--help` show it. */
export const addressForms =
  'tcp:HOST:PORT[-PORT] (HOST an IPv4 address, a CIDR, or [v6]), unix:PATH, unix-abstract:NAME, vsock:CID:PORT or netlink:route';

export function addressError(text: string, problem: string, form: string = addressForms): RatchetError {
  return new RatchetError('ADDRESS_INVALID', `${JSON.stringify(text)}: ${problem}`, { next: `write ${form}` });
}
