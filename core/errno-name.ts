// SPDX-License-Identifier: Apache-2.0
import { constants } from 'node:os';

const names = new Map(Object.entries(constants.errno).map(([name, value]) => [value, name]));

/** POSIX name of an errno of this system, e.g. 13 -> `EACCES`. */
export function errnoName(errno: number): string {
  return names.get(errno) ?? `errno ${errno}`;
}
