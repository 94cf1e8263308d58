// SPDX-License-Identifier: Apache-2.0
// A Node program puts itself under the stages of a profile. In order:
//   1. the thread pool is started, so that its threads exist when everything else is taken away;
//   2. Landlock and the capabilities, in every thread by itself (core of native/sys/each_thread.h);
//   3. the stage's filter, in all threads at once (TSYNC);
//   4. every thread is looked at in /proc, where the filter permits that.
// Threads that are made later, workers for one, inherit all of it. A failure from 2 on leaves the process partly confined: it must end.
import { stat } from 'node:fs/promises';
import { native } from '../../native/index.ts';
import { type CompiledProfile, compileProfile } from '../compiler/index.ts';
import { errnoName } from '../errno-name.ts';
import { RatchetError } from '../errors.ts';
import type { Mechanism } from '../launch/report.ts';
import { loadProfile } from '../profile-files.ts';
import { ownFilterCount, readTasks, type Task } from '../stages/tasks.ts';
import { capabilityBits } from './capabilities.ts';
import { landlockRules, type PathRoot } from './landlock.ts';
import { unsupervised } from './unsupervised.ts';

export interface EnterSelfOptions {
  /** A shipped profile's name, a file, or a profile as an object. It leaves nothing to a broker and requires nothing. Its `layers` are launch()'s. Given again, it must be the same one. */
  readonly profile: string | Readonly<Record<string, unknown>>;
  /** The stage to enter, with all stages before it. Default: the first that was not entered yet. */
  readonly stage?: string;
  readonly features?: readonly string[];
  /** Where files may be used, by Landlock; nothing elsewhere. Absent: Landlock is not used. Only the first call can give it. */
  readonly paths?: readonly PathRoot[];
  /** Capabilities that stay where they are held, such as CAP_NET_ADMIN. Default: none. */
  readonly capabilities?: readonly string[];
}

export interface SelfReport {
  readonly pid: number;
  readonly stage: string;
  readonly mechanisms: readonly Mechanism[];
  readonly threads: readonly Task[];
}

/** What this process has entered already; there is one per process, whoever asks. */
let entered:
  | { readonly compiled: CompiledProfile; readonly key: string; epoch: number; readonly inherited: number }
  | undefined;

/**
 * Confines this process, all of its threads, for good.
 * @throws RatchetError PROFILE_INVALID, STAGE_UNKNOWN, STAGE_BACKWARDS, KERNEL_UNSUPPORTED, with nothing changed; SELF_FAILED, and then the process must end.
 */
export async function enterSelf(options: EnterSelfOptions): Promise<SelfReport> {
  const key = JSON.stringify([options.profile, options.features ?? []]);
  if (entered !== undefined && entered.key !== key)
    throw new RatchetError('STAGE_BACKWARDS', 'this process is under the stages of another profile', {
      next: 'filters only add up: enter the later stages of the first profile',
    });
  const state = entered ?? { compiled: compileSelf(options), key, epoch: -1, inherited: ownFilterCount() };
  const target = targetEpoch(state.compiled, options.stage, state.epoch);
  const rules = entered === undefined && options.paths !== undefined ? landlockRules(options.paths) : undefined;
  const capabilities = capabilityBits(options.capabilities ?? []);
  // libuv makes all threads of its pool when the first work comes.
  await stat('/');
  if (rules !== undefined) step('Landlock', () => native.restrictThreads(rules));
  step('dropping capabilities', () => native.keepCapabilities({ capabilities }));
  entered = state;
  for (const stage of state.compiled.stages.slice(state.epoch + 1, target + 1)) {
    step(`the filter of stage ${stage.name}`, () => native.filterThreads({ program: stage.program }));
    state.epoch += 1;
  }
  const stage = state.compiled.stages[target]?.name ?? '';
  const threads = look();
  const filters = state.inherited + state.epoch + 1;
  const bare = threads?.find((task) => task.mode !== 2 || task.filters !== filters || !task.noNewPrivs);
  if (bare !== undefined)
    throw new RatchetError('SELF_FAILED', `thread ${bare.tid} (${bare.name}) is not in stage ${stage}`, {
      next: 'end the process',
    });
  return {
    pid: process.pid,
    stage,
    mechanisms: mechanisms(threads, options.paths !== undefined),
    threads: threads ?? [],
  };
}

function compileSelf({ profile, features }: EnterSelfOptions): CompiledProfile {
  return compileProfile(unsupervised(loadProfile(profile, features === undefined ? {} : { features })));
}

function targetEpoch({ name, stages }: CompiledProfile, wanted: string | undefined, epoch: number): number {
  const target = wanted === undefined ? epoch + 1 : stages.findIndex((stage) => stage.name === wanted);
  if (target < 0 || target >= stages.length)
    throw new RatchetError('STAGE_UNKNOWN', `the profile ${name} has no stage ${wanted ?? 'after the last'}`, {
      next: `it has ${stages.map((stage) => stage.name).join(', ')}`,
    });
  if (target <= epoch)
    throw new RatchetError('STAGE_BACKWARDS', `this process is in stage ${stages[epoch]?.name} already`, {
      next: 'stages only tighten; start a new process',
    });
  return target;
}

function step(what: string, take: () => void): void {
  try {
    take();
  } catch (cause) {
    const { errno } = cause as { readonly errno?: number };
    throw new RatchetError('SELF_FAILED', `this process could not confine itself: ${what} failed`, {
      ...(errno === undefined ? {} : { errno: errnoName(errno) }),
      next: 'end the process: some of its threads may be confined and others not',
      cause,
    });
  }
}

/** Undefined where the filter does not let this process look at itself. */
function look(): readonly Task[] | undefined {
  try {
    return readTasks(process.pid);
  } catch {
    return undefined;
  }
}

function mechanisms(threads: readonly Task[] | undefined, landlock: boolean): readonly Mechanism[] {
  const seen =
    threads === undefined
      ? 'as the kernel said; the filter does not let this process look'
      : `on all ${threads.length} threads`;
  return [
    { name: 'seccomp', state: threads === undefined ? 'partial' : 'enforced', reason: seen },
    { name: 'no-new-privs', state: threads === undefined ? 'partial' : 'enforced', reason: seen },
    { name: 'capabilities', state: 'enforced', reason: 'dropped in every thread' },
    landlock
      ? { name: 'landlock', state: 'enforced', reason: 'entered by every thread' }
      : { name: 'landlock', state: 'absent', reason: 'no paths were given' },
  ];
}
