// SPDX-License-Identifier: Apache-2.0

import type { Arch } from '../../core/policy/types.ts';
import { parametersOf } from '../../core/tables/index.ts';

/** The kernel reads `int` parameters from the low half of the register. */
export function int32(register: bigint): number {
  return Number(BigInt.asIntN(32, register));
}

/** The call's arguments by their names, for people: ints as the kernel reads them, other registers in hexadecimal when they are large. */
export function describeArguments(
  arch: Arch,
  syscall: string,
  args: readonly bigint[],
): Readonly<Record<string, string | number>> {
  return Object.fromEntries(
    parametersOf(arch, syscall).map(({ index, names, width }) => {
      const register = args[index] ?? 0n;
      const value =
        width === 'low32'
          ? int32(register)
          : register < 0x1_0000_0000n
            ? Number(register)
            : `0x${register.toString(16)}`;
      return [names[0] ?? `arg${index}`, value];
    }),
  );
}
