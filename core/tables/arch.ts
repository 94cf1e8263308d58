// SPDX-License-Identifier: Apache-2.0
import type { Arch } from '../policy/types.ts';

export const archNames: readonly Arch[] = ['x86_64', 'aarch64', 'riscv64'];

/** AUDIT_ARCH_* of linux/audit.h: ELF machine number, 64-bit (bit 31) and little-endian (bit 30) flags. */
const auditArches: Readonly<Record<Arch, number>> = {
  x86_64: 0xc000003e,
  aarch64: 0xc00000b7,
  riscv64: 0xc00000f3,
};

/** What `seccomp_data.arch` holds for this architecture's native calls (x32 has the same value on x86_64). */
export function auditArchOf(arch: Arch): number {
  return auditArches[arch];
}
