// SPDX-License-Identifier: Apache-2.0
// How a running, unmodified process moves to a tighter stage. In order:
//   1. the broker moves to the new epoch: from here on it judges by the new rules only;
//   2. the stage's program is injected through one stopped thread and synchronised by the kernel to all (TSYNC);
//   3. every thread passes through user mode once, so that no call judged by the older filter is still under way;
//   4. every thread is checked from outside.
// A failure that left the process as it was is a `NothingChanged`: the VMM may live on in its earlier stage, with a broker that may judge by the
// later one already. After any other failure the state of the process is not known, and the caller must kill it.
import { type InjectResult, native } from '../../native/index.ts';
import { errnoName } from '../errno-name.ts';
import { type ErrorCode, type ErrorDetail, RatchetError } from '../errors.ts';
import { tracerOf } from './tasks.ts';
import { type InstalledProgram, type Verification, verifyThreads } from './verify.ts';

export interface TightenOptions {
  readonly pid: number;
  readonly pidfd: number;
  readonly stage: string;
  readonly program: Uint8Array;
  /** What is installed already, oldest first. */
  readonly chain: readonly InstalledProgram[];
  readonly inheritedFilters: number;
  readonly moveBroker: () => Promise<void>;
  readonly deadlineMs: number;
}

export interface Tightened {
  readonly verification: Verification;
  /** How long the one thread that carried the injection stood still. */
  readonly stoppedMicroseconds: number;
}

/** The stage was not entered, and the process is as it was before: same filters, same threads, running. */
export class NothingChanged extends RatchetError {}

/** Enters the stage or throws; see the file's head for what a throw means. */
export async function tighten(options: TightenOptions): Promise<Tightened> {
  const { pid, pidfd, stage, program, chain, inheritedFilters, deadlineMs } = options;
  await options.moveBroker().catch((cause: unknown) => {
    throw brokerStayed(stage, cause);
  });
  const injected = native.injectFilter({ pid, pidfd, program, deadlineMs });
  if (!injected.ok) throw injectionFailed(options, injected);
  native.quiesceThreads({ pid, pidfd, deadlineMs });
  const verification = verifyThreads({
    pid,
    inheritedFilters,
    chain: [...chain, { stage, program }],
    deadlineMs,
  });
  return { verification, stoppedMicroseconds: injected.stoppedMicroseconds };
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

function injectionFailed(
  { pid, stage }: TightenOptions,
  { step, errno, tid, dirty }: Extract<InjectResult, { ok: false }>,
): RatchetError {
  const tracer = tracerOf(tid === 0 ? pid : tid);
  const what = `stage ${stage} was not entered: injecting its filter into process ${pid} failed at step ${step}, thread ${tid}`;
  const detail: ErrorDetail = {
    errno: errnoName(errno),
    next: tracer === 0 ? injectionCure(step) : `process ${tracer} traces it: detach that (strace, gdb) and try again`,
  };
  if (dirty) return new RatchetError('INJECTION_FAILED', what, detail);
  return new NothingChanged(
    'INJECTION_FAILED',
    `${what}. The VMM is unchanged and goes on under its earlier filters; its broker already judges by ${stage}`,
    detail,
  );
}

function injectionCure(step: string): string {
  if (step === 'tsync') return 'a thread has a filter of its own; VMMs must not install seccomp filters themselves';
  if (step === 'seccomp')
    return 'an earlier stage must allow seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC)';
  return 'the launcher must be able to ptrace the VMM: look at kernel.yama.ptrace_scope (2 needs CAP_SYS_PTRACE, 3 forbids it)';
}
