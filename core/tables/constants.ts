// SPDX-License-Identifier: Apache-2.0
import type { Arch } from '../policy/types.ts';
import { errnoNumbers, ownConstants, sharedConstants } from './constants.generated.ts';

/**
 * Constants of ratchet's own. RATCHET_EXEC_FD: the fd number under which the stager opens the VMM's binary. It lies above the VMM's
 * RLIMIT_NOFILE, so the number can never be had again after the exec.
 */
const ratchetConstants: Readonly<Record<string, bigint>> = { RATCHET_EXEC_FD: 16383n };

/** A named constant as C has it (negative ones are negative), or undefined. */
export function constantValue(arch: Arch, name: string): bigint | undefined {
  for (const table of [ratchetConstants, sharedConstants, ownConstants[arch]]) {
    if (Object.hasOwn(table, name)) return table[name];
  }
  return undefined;
}

/** Every name that `constantValue` knows on this architecture. */
export function constantNames(arch: Arch): readonly string[] {
  return [...Object.keys(ratchetConstants), ...Object.keys(sharedConstants), ...Object.keys(ownConstants[arch])];
}

/** The name of a value among the constants with this prefix (`AF_`, `KVM_`...), or undefined. */
export function constantName(arch: Arch, prefix: string, value: bigint): string | undefined {
  return constantNames(arch).find((name) => name.startsWith(prefix) && constantValue(arch, name) === value);
}

const namesByErrno = new Map(
  Object.entries(errnoNumbers)
    .filter(([name]) => !['EWOULDBLOCK', 'EDEADLOCK', 'ENOTSUP'].includes(name))
    .map(([name, number]) => [number, name]),
);

/** Linux errno of a name, the same on all three architectures. */
export function errnoNumber(name: string): number | undefined {
  return Object.hasOwn(errnoNumbers, name) ? errnoNumbers[name] : undefined;
}

/** Name of a Linux errno, whatever system this runs on. */
export function errnoName(errno: number): string | undefined {
  return namesByErrno.get(errno);
}

/** All errno names. */
export function errnoNames(): readonly string[] {
  return Object.keys(errnoNumbers);
}
