// SPDX-License-Identifier: Apache-2.0
import { RatchetError } from '../errors.ts';
import type { Arch } from '../policy/types.ts';

/** The architecture that filters are compiled for here. */
export function machineArch(): Arch {
  switch (process.arch) {
    case 'x64':
      return 'x86_64';
    case 'arm64':
      return 'aarch64';
    case 'riscv64':
      return 'riscv64';
    default:
      throw new RatchetError('KERNEL_UNSUPPORTED', `ratchet has no syscall table for ${process.arch}`);
  }
}
