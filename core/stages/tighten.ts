// SPDX-License-Identifier: Apache-2.0
// How a running, unmodified process moves to a tighter stage. In order:
//   0. what the stage requires of the process is looked at (and once more at the end);
//   1. the broker moves to the new epoch: from here on it judges by the new rules only; and it knows which threads have a role before these get its filters.
//      Layers are tightened meanwhile;
//   2. the stage's program is installed in every thread: through one stopped thread, synchronised by the kernel to all (TSYNC), or, once
//      threads differ because an earlier stage gave roles, in one thread after the other. So it is too where the stage leaves fewer files: each thread
//      enters the Landlock domain by itself, just before;
//   3. threads with a role get their role's programs on top;
//   4. every thread passes through user mode once, so that no call judged by the older filter is still under way, and is checked from outside.
// A failure that left the process as it was is a `NothingChanged`: the VMM may live on in its earlier stage, with a broker that may judge by the
// later one already. After any other failure the state of the process is not known, and the caller must kill it.
import { type NotInjected, native } from '../../native/index.ts';
import { errnoName } from '../errno-name.ts';
import { type ErrorCode, type ErrorDetail, RatchetError } from '../errors.ts';
import type { Requirements } from '../policy/types.ts';
import { roleChain, rolesIn, type StagePrograms } from './chain.ts';
import { findObstacles, obstructed } from './preconditions.ts';
import { tracerOf } from './tasks.ts';
import { type Verification, verifyThreads } from './verify.ts';

/** The threads of a process and what they should have. */
export interface Threads {
  readonly pid: number;
  readonly pidfd: number;
  /** All stages up to the present one, or the one to enter, which is the last. */
  readonly stages: readonly StagePrograms[];
  /** Which thread has which role. */
  readonly roles: ReadonlyMap<number, string>;
  /** Of those, the ones that were given their role's programs of the earlier stages. */
  readonly given: ReadonlySet<number>;
  readonly inheritedFilters: number;
  readonly deadlineMs: number;
}

export interface TightenOptions extends Omit<Threads, 'roles'> {
  /** The process is looked at, and the broker moved, while the answer is under way. */
  readonly askRoles: () => Promise<ReadonlyMap<number, string>>;
  readonly moveBroker: () => Promise<void>;
  readonly tellBroker: (roles: ReadonlyMap<number, string>) => Promise<void>;
  /** Takes from the process what the stage leaves it no more, beside its filters. Begun when the preconditions hold, beside what is asked and told. */
  readonly confine?: () => Promise<void>;
  /** What the stage demands of the process. */
  readonly requires?: Requirements | undefined;
  /** The descriptor, in the process, of the Landlock ruleset that each thread restricts itself by. */
  readonly rulesetFd?: number | undefined;
}

export interface Tightened {
  readonly verification: Verification;
  /** The threads that have a role now. */
  readonly roles: ReadonlyMap<number, string>;
  /** How long the one thread that carried the filter stood still, or, where each got its own, the longest that one did. */
  readonly stoppedMicroseconds: number;
  /** How many threads restricted themselves by the ruleset, if there is one; all others were made by these. */
  readonly restricted?: number;
}

/** The stage was not entered, and the process is as it was before: same filters, same threads, running. */
export class NothingChanged extends RatchetError {}

/** Enters the stage or throws; see the file's head for what a throw means. */
export async function tighten(options: TightenOptions): Promise<Tightened> {
  const { stages } = options;
  const entered = stages.slice(0, -1);
  const stage = stages.at(-1);
  if (stage === undefined) throw new Error('no stage to enter');
  const asked = options.askRoles();
  try {
    assertPreconditions(options, entered.length);
  } catch (error) {
    await asked.catch(() => undefined);
    throw error;
  }
  const broker = async (act: Promise<void>): Promise<void> =>
    await act.catch((cause: unknown) => {
      throw brokerStayed(stage.name, cause);
    });
  const [answer, moved, confined] = await Promise.allSettled([
    asked,
    broker(options.moveBroker()),
    options.confine?.(),
  ]);
  // What was taken cannot be given back.
  if (confined.status === 'rejected') throw confined.reason;
  if (moved.status === 'rejected') throw moved.reason;
  if (answer.status === 'rejected') throw answer.reason;
  const roles = answer.value;
  await broker(options.tellBroker(roles));
  const threads: Threads = { ...options, roles };
  const { rulesetFd } = options;
  const { stoppedMicroseconds, tids } =
    rolesIn(entered).size > 0 || rulesetFd !== undefined
      ? installByThread(threads, stage, rulesetFd)
      : installEverywhere(threads, stage);
  const verification = verifyThreads(threads);
  assertPreconditionsHold(options);
  if (verification.untraceable.length > 0)
    throw new RatchetError(
      'VERIFICATION_FAILED',
      `stage ${stage.name} could not be verified: ${verification.readBackMissing}`,
    );
  return {
    verification,
    roles,
    stoppedMicroseconds,
    ...(rulesetFd === undefined ? {} : { restricted: tids.length }),
  };
}

/** @throws NothingChanged. */
function assertPreconditions({ requires, stages, ...options }: TightenOptions, entered: number): void {
  if (requires === undefined) return;
  const stage = stages.at(-1)?.name ?? '';
  const obstacles = findObstacles({ ...options, stage, filters: options.inheritedFilters + entered }, requires);
  if (obstacles.length === 0) return;
  const { code, message } = obstructed(stage, obstacles, 'was not entered, and the VMM goes on as before');
  throw new NothingChanged(code, message);
}

/** Something that came between the first look and the filter. The stage is on and cannot be taken back: not a `NothingChanged`. */
function assertPreconditionsHold({ requires, stages, ...options }: TightenOptions): void {
  if (requires === undefined) return;
  const stage = stages.at(-1)?.name ?? '';
  const obstacles = findObstacles({ ...options, stage, filters: options.inheritedFilters + stages.length }, requires);
  if (obstacles.length > 0) throw obstructed(stage, obstacles, 'was entered, but what it requires does not hold');
}

/** Gives threads that have a role, and none of its programs yet, those of all stages so far. @throws as tighten() does. */
export function giveRoles(options: Threads): Verification {
  const stage = options.stages.at(-1)?.name ?? '';
  const threads = newcomers(options);
  if (threads.length > 0) inject(options, stage, { threads, others: [] });
  return verifyThreads(options);
}

/** By TSYNC, and then what roles have on top. */
function installEverywhere(options: Threads, { name, program }: StagePrograms): Installed {
  const { pid, pidfd, deadlineMs } = options;
  const threads = newcomers(options);
  if (threads.length > 0) return inject(options, name, { threads, others: [], together: program });
  const injected = native.injectFilter({ pid, pidfd, program, deadlineMs });
  if (!injected.ok) throw injectionFailed(pid, name, injected);
  return { stoppedMicroseconds: injected.stoppedMicroseconds, tids: [injected.tid] };
}

function installByThread(options: Threads, stage: StagePrograms, ruleset: number | undefined): Installed {
  const { stages, roles, given } = options;
  const threads = [...roles].map(([tid, role]) => ({
    tid,
    programs: [
      stage.program,
      ...(given.has(tid) ? own(stage, role) : roleChain(stages, role).map(({ program }) => program)),
    ],
  }));
  return inject(options, stage.name, { threads, others: [stage.program], ruleset });
}

function own({ roles }: StagePrograms, role: string): Uint8Array[] {
  const program = roles[role]?.program;
  return program === undefined ? [] : [program];
}

interface ThreadPrograms {
  readonly tid: number;
  readonly programs: readonly Uint8Array[];
}

/** Threads that have a role and nothing of it yet. */
function newcomers({ stages, roles, given }: Threads): ThreadPrograms[] {
  return [...roles]
    .filter(([tid]) => !given.has(tid))
    .map(([tid, role]) => ({ tid, programs: roleChain(stages, role).map(({ program }) => program) }))
    .filter(({ programs }) => programs.length > 0);
}

interface Installed {
  /** For how long one thread stood still at most. */
  readonly stoppedMicroseconds: number;
  /** Threads that made the calls. */
  readonly tids: readonly number[];
}

function inject(
  { pid, pidfd, deadlineMs }: Threads,
  stage: string,
  wanted: {
    readonly threads: readonly ThreadPrograms[];
    readonly others: readonly Uint8Array[];
    readonly together?: Uint8Array;
    readonly ruleset?: number | undefined;
  },
): Installed {
  const forAll = wanted.together === undefined ? wanted.others : [wanted.together];
  const programs = [...new Set([...forAll, ...wanted.threads.flatMap((thread) => thread.programs)])];
  const places = (some: readonly Uint8Array[]): number[] => some.map((program) => programs.indexOf(program));
  const injected = native.injectByThread({
    pid,
    pidfd,
    programs,
    threads: wanted.threads.map((thread) => ({ tid: thread.tid, programs: places(thread.programs) })),
    others: places(wanted.others),
    together: wanted.together === undefined ? -1 : programs.indexOf(wanted.together),
    ruleset: wanted.ruleset ?? -1,
    deadlineMs,
  });
  if (!injected.ok) throw injectionFailed(pid, stage, injected);
  return injected;
}

function brokerStayed(stage: string, cause: unknown): NothingChanged {
  const code: ErrorCode = cause instanceof RatchetError ? cause.code : 'BROKER_PROTOCOL';
  return new NothingChanged(
    code,
    `stage ${stage} was not entered: the broker did not follow. The VMM goes on as before`,
    {
      next: cause instanceof Error ? cause.message : String(cause),
      cause,
    },
  );
}

function injectionFailed(pid: number, stage: string, { step, errno, tid, dirty }: NotInjected): RatchetError {
  const tracer = tracerOf(tid === 0 ? pid : tid);
  const what = `stage ${stage} was not entered: injecting its filter into process ${pid} failed at step ${step}, thread ${tid}`;
  const detail: ErrorDetail = {
    errno: errnoName(errno),
    next:
      tracer === 0
        ? injectionCure(step, errnoName(errno))
        : `process ${tracer} traces it: detach that (strace, gdb) and try again`,
  };
  if (dirty) return new RatchetError('INJECTION_FAILED', what, detail);
  return new NothingChanged(
    'INJECTION_FAILED',
    `${what}. The VMM is unchanged and goes on under its earlier filters; its broker already judges by ${stage}`,
    detail,
  );
}

function injectionCure(step: string, errno: string): string {
  if (step === 'landlock')
    return errno === 'EBADF'
      ? 'the program has closed the descriptor of the ruleset, which it was born with: it must not close what it did not open'
      : 'earlier stages must allow landlock_restrict_self with flags == 0, and the program must not enter Landlock domains itself (16 at most)';
  if (step === 'tsync') return 'a thread has a filter of its own; VMMs must not install seccomp filters themselves';
  if (step === 'seccomp')
    return 'earlier stages must allow seccomp(SECCOMP_SET_MODE_FILTER) with SECCOMP_FILTER_FLAG_TSYNC, and with no flags once threads have roles';
  if (step === 'stop') return 'a thread did not stop in time: it waits for a device, or for the broker. Try again';
  return 'the launcher must be able to ptrace the VMM: look at kernel.yama.ptrace_scope (2 needs CAP_SYS_PTRACE, 3 forbids it)';
}
