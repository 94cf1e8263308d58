// SPDX-License-Identifier: Apache-2.0
import type { Arch } from '../../core/policy/types.ts';
import { lastKnownNr } from '../../core/tables/index.ts';
import { predictBitmap } from '../../core/verifier/index.ts';

/** Numbers for which the kernel runs programs of one thread: at least one of them keeps the number out of its bitmap. */
export function uncachedBy(programs: readonly Uint8Array[], arch: Arch): ReadonlySet<number> {
  const bitmaps = programs.map((program) => predictBitmap(program, arch));
  const numbers = Array.from({ length: lastKnownNr(arch) + 1 }, (_, nr) => nr);
  return new Set(numbers.filter((nr) => !bitmaps.every((bitmap) => bitmap.has(nr))));
}
