// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RatchetError } from '../../core/errors.ts';
import { addressToSockaddr, formatAddress, parseAddress, sockaddrToAddress } from '../../core/policy/address/index.ts';

test.each([
  'tcp:127.0.0.1:4444',
  'tcp:[2001:db8::1]:80',
  'tcp:[fe80::1%3]:80',
  'unix:/run/a.sock',
  'unix-abstract:a\\x00b',
  'vsock:2:1024',
  'netlink:route',
])('%s survives the way through a sockaddr', (text) => {
  expect(formatAddress(sockaddrToAddress(addressToSockaddr(parseAddress(text))))).toBe(text);
});

test('an IPv4 address on an IPv6 socket is judged as IPv4', () => {
  const bytes = addressToSockaddr(parseAddress('tcp:10.0.0.1:80'), { mapped: true });
  expect(bytes.length).toBe(28);
  expect(formatAddress(sockaddrToAddress(bytes))).toBe('tcp:10.0.0.1:80');
});

const un = (path: number[]) => [1, 0, ...path];
test.each([
  ['no bytes', []],
  ['one byte', [2]],
  ['AF_UNSPEC', [0, 0, ...Array(14).fill(0)]],
  ['a short sockaddr_in', [2, 0, 0, 80, 127, 0, 0]],
  ['an old 24-byte sockaddr_in6', [10, 0, ...Array(22).fill(0)]],
  ['a sockaddr_in of 17 bytes', [2, 0, 0, 80, 127, 0, 0, 1, ...Array(9).fill(0)]],
  ['an unknown family', [38, 0, ...Array(14).fill(0)]],
  ['more than sockaddr_storage', [2, 0, ...Array(127).fill(0)]],
  ['autobind', un([])],
  ['an empty abstract name', un([0])],
  ['a relative unix path', un([97, 0])],
  ['an unterminated unix path', un([47, ...Array(107).fill(97)])],
  ['a unix address beyond sockaddr_un', un([47, ...Array(110).fill(97)])],
  ['a path that is not UTF-8', un([47, 0xff, 0])],
  ['a path with ..', un([...Buffer.from('/a/../b'), 0])],
  ['vsock flags', [40, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0]],
  ['a netlink port id', [16, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]],
  ['netlink groups', [16, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]],
])('%s is refused', (_what, bytes) => {
  expect(() => sockaddrToAddress(Uint8Array.from(bytes))).toThrow(expect.objectContaining({ code: 'ADDRESS_INVALID' }));
});

test('a unix path ends at its first NUL, as in the kernel', () => {
  expect(sockaddrToAddress(Uint8Array.from(un([...Buffer.from('/a\0/b')])))).toEqual({ kind: 'unix', path: '/a' });
});

test('random bytes give an address that writes back to itself, or ADDRESS_INVALID', () => {
  const family = fc.constantFrom([1, 0], [2, 0], [10, 0], [16, 0], [40, 0], [0, 0]);
  const bytes = fc
    .tuple(family, fc.uint8Array({ maxLength: 130 }))
    .map(([head, tail]) => Uint8Array.from([...head, ...tail]));
  fc.assert(
    fc.property(fc.oneof(bytes, fc.uint8Array({ maxLength: 130 })), (candidate) => {
      try {
        const address = sockaddrToAddress(candidate);
        expect(sockaddrToAddress(addressToSockaddr(address))).toEqual(address);
        expect(parseAddress(formatAddress(address))).toEqual(address);
      } catch (error) {
        if (!(error instanceof RatchetError)) throw error;
      }
    }),
    { numRuns: 5000 },
  );
});
