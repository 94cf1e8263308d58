// SPDX-License-Identifier: Apache-2.0
import { constants } from 'node:os';

/** Second names of numbers that have two; the manual pages and the kernel use the other one. */
const seconds: readonly string[] = ['EWOULDBLOCK', 'EDEADLOCK', 'ENOTSUP'];

const names = new Map(
  Object.entries(constants.errno)
    .filter(([name]) => !seconds.includes(name))
    .map(([name, value]) => [value, name]),
);

/** POSIX name of an errno of this system, e.g. 13 -> `EACCES`. */
export function errnoName(errno: number): string {
  return names.get(errno) ?? `errno ${errno}`;
}
