// SPDX-License-Identifier: Apache-2.0
import type { Arch } from '../policy/types.ts';
import { ownSignatures, sharedSignatures } from './signatures.generated.ts';

/** One argument of a system call: the kernel's name first, then the manual page's where it differs. */
export interface Parameter {
  readonly index: number;
  readonly names: readonly string[];
  /** `low32` where the kernel's own entry code drops the high half of the register. */
  readonly width: 'low32' | 'full64';
}

/** Arguments in register order, empty for a call without any, or for one whose signature is not known. */
export function parametersOf(arch: Arch, syscall: string): readonly Parameter[] {
  return (rowsOf(arch, syscall) ?? []).map(([width, ...names], index) => ({ index, names, width }));
}

export function isKnownSignature(arch: Arch, syscall: string): boolean {
  return rowsOf(arch, syscall) !== undefined;
}

/** The argument of this name, or undefined. */
export function parameterOf(arch: Arch, syscall: string, name: string): Parameter | undefined {
  return parametersOf(arch, syscall).find((parameter) => parameter.names.includes(name));
}

function rowsOf(
  arch: Arch,
  syscall: string,
): readonly (readonly ['low32' | 'full64', string, ...string[]])[] | undefined {
  const own = ownSignatures[arch];
  if (Object.hasOwn(own, syscall)) return own[syscall];
  return Object.hasOwn(sharedSignatures, syscall) ? sharedSignatures[syscall] : undefined;
}
