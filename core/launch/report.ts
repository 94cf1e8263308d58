// SPDX-License-Identifier: Apache-2.0
import type { Verification } from '../stages/verify.ts';

export interface Mechanism {
  readonly name: string;
  readonly state: 'enforced' | 'partial' | 'absent';
  readonly reason: string;
}

/** What holds for each thread right now, as read from outside. */
export interface EnforcementReport {
  readonly pid: number;
  readonly stage: string;
  readonly ok: boolean;
  readonly mechanisms: readonly Mechanism[];
  readonly threads: readonly {
    readonly tid: number;
    readonly name: string;
    readonly role: string;
    readonly mode: number;
    readonly filters: number;
    readonly programs: readonly { readonly stage: string; readonly sha256: string }[];
  }[];
}

export function makeReport(found: {
  readonly pid: number;
  readonly stage: string;
  readonly roles: ReadonlyMap<number, string>;
  readonly waitKillable: boolean;
  readonly signalScope: boolean;
  readonly verification?: Verification;
  readonly failure?: Error;
}): EnforcementReport {
  const { pid, stage, roles, verification, failure } = found;
  const threads = verification?.threads ?? [];
  const every = `on all ${threads.length} threads`;
  return {
    pid,
    stage,
    ok: failure === undefined,
    mechanisms: [
      failure === undefined
        ? { name: 'seccomp', state: 'enforced', reason: every }
        : { name: 'seccomp', state: 'absent', reason: failure.message },
      failure === undefined
        ? { name: 'no-new-privs', state: 'enforced', reason: every }
        : { name: 'no-new-privs', state: 'absent', reason: 'not established, see seccomp' },
      readBack(verification),
      found.signalScope
        ? { name: 'signal-scope', state: 'enforced', reason: "the VMM's signals reach only itself (Landlock)" }
        : {
            name: 'signal-scope',
            state: 'absent',
            reason: 'the kernel has no LANDLOCK_SCOPE_SIGNAL (6.12), or Landlock is off',
          },
      found.waitKillable
        ? {
            name: 'wait-killable',
            state: 'enforced',
            reason: 'a call under way in the broker is only interrupted by a kill',
          }
        : {
            name: 'wait-killable',
            state: 'absent',
            reason: 'the kernel has no SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (5.19)',
          },
    ],
    threads: threads.map(({ tid, name, mode, filters, programs }) => ({
      tid,
      name,
      role: roles.get(tid) ?? 'worker',
      mode,
      filters,
      programs,
    })),
  };
}

function readBack(verification: Verification | undefined): Mechanism {
  const name = 'program-read-back';
  if (verification === undefined) return { name, state: 'absent', reason: 'not established, see seccomp' };
  if (verification.readBackMissing !== undefined)
    return { name, state: 'absent', reason: verification.readBackMissing };
  return { name, state: 'enforced', reason: 'every installed program is byte for byte the compiled one' };
}
