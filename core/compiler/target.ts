// SPDX-License-Identifier: Apache-2.0
import type { Arch } from '../policy/types.ts';
import type { NumberRange } from '../verifier/policy-diagram.ts';
import type { CallCounts } from './weights.ts';

export interface CompileOptions {
  /** Recorded calls; without them every number that the arguments decide counts the same. */
  readonly counts?: CallCounts;
  /** For compileProfile(): those made from the start of a stage on, by stage; those of the stage before for one that is not here. */
  readonly stageCounts?: Readonly<Record<string, CallCounts>>;
  /** For compileProfile(): those of the threads of a role, by role; those of the stage for one that is not here. */
  readonly roleCounts?: Readonly<Record<string, CallCounts>>;
  /** Numbers that another filter of the chain keeps out of the kernel's bitmap: this filter runs for them too. */
  readonly uncached?: ReadonlySet<number>;
  /** Longest run of intervals that is solved exactly (default 64). Time grows with its third power. */
  readonly exactItems?: number;
  /** Most values taken out of one run of intervals one after the other (default 6). */
  readonly maxPeeled?: number;
}

/** What is to be compiled, after the policy's text is gone: a function on each number and what foreign ABIs get. */
export interface FilterTarget {
  readonly arch: Arch;
  readonly ranges: readonly NumberRange[];
  /** Undefined: an earlier filter refuses foreign architectures, so they are not tested for. */
  readonly foreign: number | undefined;
}
