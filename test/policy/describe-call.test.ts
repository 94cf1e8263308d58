// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { describeCall } from '../../core/policy/index.ts';

const reader = {
  text: (address: bigint) => (address === 0x1000n ? '/etc/passwd' : undefined),
  file: (fd: number) => (fd === 7 ? 'socket:[12]' : undefined),
  socketAddress: (address: bigint, length: number) =>
    address === 0x2000n && length === 16 ? 'tcp:192.0.2.1:25' : undefined,
};

test.each([
  [
    'sendto',
    [7n, 0x3000n, 5n, 0x4000n, 0x2000n, 16n],
    { fd: '7<socket:[12]>', flags: 'MSG_NOSIGNAL', addr: 'tcp:192.0.2.1:25' },
  ],
  // No address: a connected socket.
  ['sendto', [7n, 0x3000n, 5n, 0n, 0n, 0n], { addr: 'NULL', addrlen: 0 }],
  ['connect', [7n, 0x2000n, 16n], { addr: 'tcp:192.0.2.1:25' }],
  ['openat', [0xffffff9cn, 0x1000n, 0x80042n], { filename: '/etc/passwd', flags: 'O_CLOEXEC|O_CREAT|O_RDWR' }],
] as const)('%s in words %#', (syscall, args, words) => {
  expect(describeCall('x86_64', syscall, args, reader)).toMatchObject(words);
});
