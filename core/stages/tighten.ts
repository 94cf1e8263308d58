// SPDX-License-Identifier: Apache-2.0
// How a running, unmodified process moves to a tighter stage. In order:
//   1. the broker moves to the new epoch: from here on it judges by the new rules only;
//   2. the stage's program is injected through one stopped thread and synchronised by the kernel to all (TSYNC);
//   3. every thread passes through user mode once, so that no call judged by the older filter is still under way;
//   4. every thread is checked from outside.
// Anything that fails after step 1 leaves a process in an unknown state: the caller must kill it.
import { native } from '../../native/index.ts';
import { errnoName } from '../errno-name.ts';
import { RatchetError } from '../errors.ts';
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

/** Enters the stage or throws; see the file's head for what a throw means. */
export async function tighten(options: TightenOptions): Promise<Tightened> {
  const { pid, pidfd, stage, program, chain, inheritedFilters, deadlineMs } = options;
  await options.moveBroker();
  const injected = native.injectFilter({ pid, pidfd, program, deadlineMs });
  if (!injected.ok)
    throw new RatchetError(
      'INJECTION_FAILED',
      `stage ${stage} was not entered: injecting its filter into process ${pid} failed at step ${injected.step}, thread ${injected.tid}`,
      { errno: errnoName(injected.errno), next: injectionCure(injected.step) },
    );
  native.quiesceThreads({ pid, pidfd, deadlineMs });
  const verification = verifyThreads({
    pid,
    inheritedFilters,
    chain: [...chain, { stage, program }],
    deadlineMs,
  });
  return { verification, stoppedMicroseconds: injected.stoppedMicroseconds };
}

function injectionCure(step: string): string {
  if (step === 'tsync') return 'a thread has a filter of its own; VMMs must not install seccomp filters themselves';
  if (step === 'seccomp')
    return 'an earlier stage must allow seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC)';
  return 'see `ratchet doctor` for what this kernel and user may trace';
}
