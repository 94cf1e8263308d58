// SPDX-License-Identifier: Apache-2.0
// The proof from outside that a stage is on: nothing here believes what the injection said.
import { createHash } from 'node:crypto';
import { type InspectedThread, type Inspection, native } from '../../native/index.ts';
import { errnoName } from '../errno-name.ts';
import { RatchetError } from '../errors.ts';
import { explainChain, roleChain, rolesIn, type StagePrograms } from './chain.ts';
import { tracerOf } from './tasks.ts';

export interface VerifiedThread {
  readonly tid: number;
  readonly name: string;
  readonly mode: number;
  readonly filters: number;
  readonly noNewPrivs: boolean;
  /** Each installed program, oldest first; empty when it was not read back. `role`: for threads of that role only. */
  readonly programs: readonly {
    readonly stage: string;
    readonly role?: string;
    readonly mark?: true;
    readonly sha256: string;
  }[];
}

export interface Verification {
  readonly threads: readonly VerifiedThread[];
  /** Why programs were not read back, or not of every thread; undefined when they were. */
  readonly readBackMissing: string | undefined;
  /** Whether programs of at least one thread were read back. */
  readonly readBack: boolean;
  /** Threads in a role that has programs, by role. */
  readonly roles: ReadonlyMap<string, readonly number[]>;
  /** Threads that could not be sent through user mode, since we may not trace them. */
  readonly untraceable: readonly number[];
  readonly longestStopMicroseconds: number;
}

export interface VerifyOptions {
  readonly pid: number;
  readonly pidfd: number;
  readonly inheritedFilters: number;
  /** The stages that were entered, oldest first. */
  readonly stages: readonly StagePrograms[];
  /** Which thread has which role; a role without programs counts as none. */
  readonly roles: ReadonlyMap<number, string>;
  readonly deadlineMs: number;
}

/** How long to wait for the broker's answer to a thread, before it is looked at in /proc only. */
const patienceMs = 50;

/**
 * Checks every thread of the process: seccomp mode 2, no_new_privs, exactly the expected number of filters, and, where this process
 * may read them back (CAP_SYS_ADMIN, and no filter on itself), each program byte for byte. Each thread is stopped for a moment, so that no
 * call that an older filter judged is still under way afterwards.
 * @throws RatchetError VERIFICATION_FAILED naming the first thread and what differs.
 */
export function verifyThreads(options: VerifyOptions): Verification {
  const { pid, pidfd, stages, deadlineMs } = options;
  const inspection = inspect(pid, () => native.inspectThreads({ pid, pidfd, patienceMs, deadlineMs }));
  if (inspection.threads.length === 0) fail(pid, 'the process has no threads left');
  const withPrograms = rolesIn(stages);
  const roles = new Map<string, number[]>();
  const chains = new Chains(options, inspection);
  const threads = inspection.threads.map((thread) => {
    const named = options.roles.get(thread.tid);
    const role = named !== undefined && withPrograms.has(named) ? named : undefined;
    if (role !== undefined) roles.set(role, [...(roles.get(role) ?? []), thread.tid]);
    return verifyThread(options, chains, thread, role);
  });
  return {
    threads,
    roles,
    ...readBackOf(inspection),
    untraceable: inspection.threads.filter(({ visit }) => visit === 'refused').map(({ tid }) => tid),
    longestStopMicroseconds: inspection.longestStopMicroseconds,
  };
}

function verifyThread(
  { pid, inheritedFilters, stages }: VerifyOptions,
  chains: Chains,
  thread: InspectedThread,
  role: string | undefined,
): VerifiedThread {
  const { tid, name, mode, filters, noNewPrivs, visit } = thread;
  const who = `thread ${tid} (${name}${role === undefined ? '' : `, role ${role}`})`;
  if (mode !== 2) fail(pid, `${who} has seccomp mode ${mode}, not 2`);
  if (!noNewPrivs) fail(pid, `${who} has no_new_privs off`);
  const common = { tid, name, mode, filters, noNewPrivs };
  // It runs no program code, and io_uring's workers make no system calls that a filter sees: what it inherited is all that it has.
  if (visit === 'kernel') return { ...common, programs: [] };
  const least = inheritedFilters + stages.length + (role === undefined ? 0 : roleChain(stages, role).length);
  const most = role === undefined ? least + longestRole(stages) : least;
  if (filters < least || filters > most) fail(pid, `${who} has ${filters} filters, not ${least}`);
  if (thread.programs === undefined || isSilent(thread)) return { ...common, programs: [] };
  return { ...common, programs: chains.explain(thread.programs, role, who) };
}

/** Most threads have the same programs in the same order, and each such chain is compared once. */
class Chains {
  readonly #options: VerifyOptions;
  readonly #inspection: Inspection;
  readonly #explained = new Map<string, VerifiedThread['programs']>();

  constructor(options: VerifyOptions, inspection: Inspection) {
    this.#options = options;
    this.#inspection = inspection;
  }

  /** `places` in the inspection's programs. @throws RatchetError VERIFICATION_FAILED. */
  explain(places: readonly number[], role: string | undefined, who: string): VerifiedThread['programs'] {
    const key = `${role ?? ''} ${places}`;
    const known = this.#explained.get(key);
    if (known !== undefined) return known;
    const { pid, inheritedFilters, stages } = this.#options;
    const installed = places.map((place) => this.#inspection.programs[place] as Buffer).slice(inheritedFilters);
    const explained = explainChain(installed, stages, role);
    if (explained === undefined) fail(pid, `${who}: ${difference(installed, stages)} is not the compiled one`);
    const programs = explained.map(({ program, ...what }) => ({ ...what, sha256: digestOf(program) }));
    this.#explained.set(key, programs);
    return programs;
  }
}

const digests = new WeakMap<Uint8Array, string>();

/** Of a compiled program, which nobody writes to: computed once in its life. */
function digestOf(program: Uint8Array): string {
  const digest = digests.get(program) ?? sha256(program);
  digests.set(program, digest);
  return digest;
}

/** So that none is computed while a stage is entered. */
export function prepareDigests(stages: readonly StagePrograms[]): void {
  for (const { program, roles } of stages)
    for (const each of [program, ...Object.values(roles).map((role) => role.program)]) digestOf(each);
}

/** The first program that differs from what a thread without a role has; with roles it may stand elsewhere. */
function difference(installed: readonly Uint8Array[], stages: readonly StagePrograms[]): string {
  const stage = stages.find(({ program }, index) => !Buffer.from(program).equals(installed[index] ?? Buffer.alloc(0)));
  return rolesIn(stages).size > 0 || stage === undefined
    ? 'the chain of installed programs'
    : `the installed program of stage ${stage.name}`;
}

function longestRole(stages: readonly StagePrograms[]): number {
  return Math.max(0, ...[...rolesIn(stages)].map((role) => roleChain(stages, role).length));
}

/** The kernel says of a filtered thread that it has none: it was built without CHECKPOINT_RESTORE. */
function isSilent({ mode, programs }: InspectedThread): boolean {
  return mode === 2 && programs?.length === 0;
}

function readBackOf({ threads, unreadable }: Inspection): Pick<Verification, 'readBack' | 'readBackMissing'> {
  const read = threads.filter((thread) => thread.programs !== undefined && !isSilent(thread));
  const missing = (): string | undefined => {
    if (unreadable !== 0)
      return `PTRACE_SECCOMP_GET_FILTER: ${errnoName(unreadable)} (needs CAP_SYS_ADMIN and a kernel with CHECKPOINT_RESTORE)`;
    if (threads.some(isSilent))
      return 'PTRACE_SECCOMP_GET_FILTER tells of no filters: the kernel has no CHECKPOINT_RESTORE';
    const refused = threads.find(({ visit }) => visit === 'refused');
    if (refused !== undefined) {
      const tracer = tracerOf(refused.tid);
      return `thread ${refused.tid} may not be traced${tracer === 0 ? '' : `: process ${tracer} traces it`}`;
    }
    const waiting = threads.filter(({ visit }) => visit === 'waiting').map(({ tid }) => tid);
    if (waiting.length > 0) return `not of threads ${waiting.join(', ')}, which wait for the broker`;
    return undefined;
  };
  return { readBack: read.length > 0, readBackMissing: missing() };
}

function inspect(pid: number, act: () => Inspection): Inspection {
  try {
    return act();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') fail(pid, 'the process has no threads left');
    throw error;
  }
}

export function sha256(program: Uint8Array): string {
  return createHash('sha256').update(program).digest('hex');
}

function fail(pid: number, found: string): never {
  throw new RatchetError('VERIFICATION_FAILED', `the filters of process ${pid} are not as they should be: ${found}`, {
    next: 'a stage change that finds this ends the VMM; report it with the output of `ratchet ctl PATH attest --json`',
  });
}
