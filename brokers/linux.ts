// SPDX-License-Identifier: Apache-2.0
// Numbers of the kernel's interface that Node does not name. Errnos come from node:os, open flags from node:fs.
import { constants } from 'node:os';

export const errno = constants.errno;

/** Socket options, the same on x86_64, aarch64 and riscv64 (asm-generic/socket.h, linux/in6.h). */
export const socketOption = {
  reuseAddress: { level: 1, name: 2 },
  type: { level: 1, name: 3 },
  keepAlive: { level: 1, name: 9 },
  bindToInterface: { level: 1, name: 62 },
  error: { level: 1, name: 4 },
  acceptsConnections: { level: 1, name: 30 },
  protocol: { level: 1, name: 38 },
  domain: { level: 1, name: 39 },
  v6Only: { level: 41, name: 26 },
} as const;

export const socketType = { stream: 1, datagram: 2, raw: 3, seqpacket: 5 } as const;

export const protocolTcp = 6;

export const resolveNoSymlinks = 0x04;

/** openat2(2). Neither a symbolic link nor /proc's magic ones, anywhere in the path: what was judged is what is opened. */
export const resolveNoLinks = 0x02 | resolveNoSymlinks;

export const atCurrentDirectory = -100;

/** O_PATH, not in node:fs. */
export const openPathOnly = 0o10000000;

export const sigkill = constants.signals.SIGKILL;
