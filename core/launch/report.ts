// SPDX-License-Identifier: Apache-2.0
import type { Verification } from '../stages/verify.ts';
import type { BrokerAttestation } from './attest-broker.ts';

export interface Mechanism {
  readonly name: string;
  readonly state: 'enforced' | 'partial' | 'absent';
  readonly reason: string;
}

/** From what the programs were compiled: `ratchet compile FILE --feature F --stage S [--role R] --installed` gives their bytes. */
export interface ProgramSource {
  readonly name: string;
  readonly file: string;
  readonly features: readonly string[];
  readonly arch: string;
}

/** What holds for each thread right now, as read from outside. */
export interface EnforcementReport {
  readonly pid: number;
  readonly profile: ProgramSource;
  /** Filters that every thread has from outside, a container's for instance. They come first, and are not in `programs`. */
  readonly inheritedFilters: number;
  readonly stage: string;
  readonly ok: boolean;
  readonly mechanisms: readonly Mechanism[];
  readonly threads: readonly {
    readonly tid: number;
    readonly name: string;
    readonly role: string;
    readonly mode: number;
    readonly filters: number;
    /** As installed, oldest first; `role`: for threads of that role only; `mark`: allows everything, and tells by its number which role it is. */
    readonly programs: readonly {
      readonly stage: string;
      readonly role?: string;
      readonly mark?: true;
      readonly sha256: string;
    }[];
  }[];
}

export function makeReport(found: {
  readonly pid: number;
  readonly profile: ProgramSource;
  readonly inheritedFilters: number;
  readonly stage: string;
  /** What each thread is for, by thread id. */
  readonly labels: ReadonlyMap<number, string>;
  /** Roles that have filters in this stage. */
  readonly roles: readonly string[];
  readonly waitKillable: boolean;
  readonly signalScope: boolean;
  /** Whether the stage is in soak: then nothing is claimed to be enforced by it. */
  readonly soak: boolean;
  /** Whether, and from where, the kernel's audit records are read. */
  readonly records: { readonly available: boolean; readonly reason: string };
  readonly verification?: Verification;
  readonly failure?: Error;
  readonly broker: BrokerAttestation;
  /** What confines it besides its filters. */
  readonly layers: readonly Mechanism[];
}): EnforcementReport {
  const { pid, profile, inheritedFilters, stage, labels, verification, failure } = found;
  const threads = verification?.threads ?? [];
  const every = `on all ${threads.length} threads`;
  return {
    pid,
    profile,
    inheritedFilters,
    stage,
    ok:
      failure === undefined && found.broker.ok && found.layers.every(({ state }) => state !== 'partial') && !found.soak,
    mechanisms: [
      failure === undefined
        ? found.soak
          ? { name: 'seccomp', state: 'partial', reason: soakReason(stage) }
          : { name: 'seccomp', state: 'enforced', reason: every }
        : { name: 'seccomp', state: 'absent', reason: failure.message },
      failure === undefined
        ? { name: 'no-new-privs', state: 'enforced', reason: every }
        : { name: 'no-new-privs', state: 'absent', reason: 'not established, see seccomp' },
      roleFilters(found, verification),
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
      { name: 'audit-records', state: found.records.available ? 'enforced' : 'absent', reason: found.records.reason },
      ...found.layers,
      ...found.broker.mechanisms,
    ],
    threads: threads.map(({ tid, name, mode, filters, programs }) => ({
      tid,
      name,
      role: labels.get(tid) ?? 'worker',
      mode,
      filters,
      programs,
    })),
  };
}

function soakReason(stage: string): string {
  return `soak: what stage ${stage} refuses and its roles refuse is let through and reported. Kills, quiet refusals and what the broker judges by memory hold`;
}

function readBack(verification: Verification | undefined): Mechanism {
  const name = 'program-read-back';
  if (verification === undefined) return { name, state: 'absent', reason: 'not established, see seccomp' };
  const { readBackMissing: reason } = verification;
  if (reason !== undefined) return { name, state: verification.readBack ? 'partial' : 'absent', reason };
  return { name, state: 'enforced', reason: 'every installed program is byte for byte the compiled one' };
}

function roleFilters(
  { roles, soak }: { readonly roles: readonly string[]; readonly soak: boolean },
  verification: Verification | undefined,
): Mechanism {
  const name = 'roles';
  if (roles.length === 0) return { name, state: 'absent', reason: 'the profile has no roles in this stage' };
  if (verification === undefined) return { name, state: 'absent', reason: 'not established, see seccomp' };
  const counted = roles.map((role) => `${role} on ${verification.roles.get(role)?.length ?? 0} threads`);
  return soak
    ? { name, state: 'partial', reason: `soak: ${counted.join(', ')}` }
    : { name, state: 'enforced', reason: counted.join(', ') };
}
