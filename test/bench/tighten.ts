// SPDX-License-Identifier: Apache-2.0
// Suite `tighten`: how long a process stands still while a stage is entered, and how long the whole way takes, proof from outside included.

import { type CompiledProgram, compileProfile } from '../../core/compiler/index.ts';
import { buildGuest, guestArguments } from '../../core/demo/guest.ts';
import { GuestConsole } from '../../core/demo/guest-console.ts';
import { launch } from '../../core/launch/launch.ts';
import type { Sandbox } from '../../core/launch/sandbox.ts';
import { countsOption } from '../../core/profile-counts.ts';
import { loadProfile } from '../../core/profile-files.ts';
import { ownFilterCount } from '../../core/stages/tasks.ts';
import { tighten } from '../../core/stages/tighten.ts';
import { native } from '../../native/index.ts';
import { packagePath } from '../../native/package-path.ts';
import { atMost, exact, type Figure, type Goal, measured, quantile } from './figure.ts';
import { buildBenchVictim, IdleVictim } from './idle-victim.ts';

const deadlineMs = 10_000;
const rounds = 50;
const sizes = [4, 16, 64];

export async function benchTighten(): Promise<readonly Figure[]> {
  const victim = buildBenchVictim();
  const profile = loadProfile('qemu');
  const [, running] = compileProfile(profile, countsOption(profile)).stages;
  if (running === undefined) throw new Error('the profile of QEMU has no stage running');
  const bySize = sizes.map((threads) => ({ threads, together: [] as OneRun[], byThread: [] as number[] }));
  // The sizes take turns, so that what else the machine does falls on all of them.
  for (let round = 0; round < rounds; round++)
    for (const { threads, together, byThread } of bySize) {
      together.push(await tightenOnce(victim, threads, running));
      byThread.push(await tightenByThread(victim, threads));
    }
  return [
    ...bySize.flatMap(({ threads, together }) => [
      measured(
        `one thread stands still, ${threads} threads`,
        'us',
        together.map(({ stopped }) => stopped),
        withFewest(threads, median(together, 'stopped')),
      ),
      measured(
        `and each once more, the longest, ${threads} threads`,
        'us',
        together.map(({ longest }) => longest),
        { goal: atMost(300, median(together, 'longest'), 'us') },
      ),
      measured(
        `request to verified stage, ${threads} threads`,
        'ms',
        together.map(({ totalMs }) => totalMs),
        { goal: atMost(5, median(together, 'totalMs'), 'ms') },
      ),
    ]),
    growthOf(
      'one thread stands still, growth',
      bySize.map(({ together }) => median(together, 'stopped')),
    ),
    ...bySize.map(({ threads, byThread }) =>
      measured(
        `thread by thread, the longest, ${threads} threads`,
        'us',
        byThread,
        withFewest(threads, quantile(byThread, 0.5)),
      ),
    ),
    growthOf(
      'thread by thread, growth',
      bySize.map(({ byThread }) => quantile(byThread, 0.5)),
    ),
    ...(await onQemu()),
  ];
}

/** With more threads the growth has a goal. */
function withFewest(threads: number, median: number): { readonly goal?: Goal } {
  return threads === sizes[0] ? { goal: atMost(300, median, 'us') } : {};
}

function growthOf(name: string, medians: readonly number[]): Figure {
  const [least = 0, most = 0] = [medians[0], medians.at(-1)];
  const growth = (most - least) / ((sizes.at(-1) ?? 0) - (sizes[0] ?? 0));
  return exact(name, 'us/thread', growth, { goal: atMost(20, growth, 'us'), n: rounds });
}

interface OneRun {
  /** Microseconds. */
  readonly stopped: number;
  /** Microseconds that a thread stood still in the pass over all, at most. */
  readonly longest: number;
  readonly totalMs: number;
}

function median(runs: readonly OneRun[], what: keyof OneRun): number {
  return quantile(
    runs.map((run) => run[what]),
    0.5,
  );
}

/** What launch() does, but for the broker. */
async function tightenOnce(program: string, threads: number, filter: CompiledProgram): Promise<OneRun> {
  await using victim = await IdleVictim.start(program, threads);
  const begun = performance.now();
  const { stoppedMicroseconds, verification } = await tighten({
    pid: victim.pid,
    pidfd: victim.pidfd,
    stages: [{ name: 'running', program: filter.program, roles: {} }],
    askRoles: () => Promise.resolve(new Map()),
    given: new Set(),
    inheritedFilters: ownFilterCount(),
    moveBroker: () => Promise.resolve(),
    tellBroker: () => Promise.resolve(),
    deadlineMs,
  });
  const totalMs = performance.now() - begun;
  return { stopped: stoppedMicroseconds, longest: verification.longestStopMicroseconds, totalMs };
}

/** The filter of `sealed`, which is what such a stage change usually brings: the kernel's own work on a filter is its length's. */
async function tightenByThread(program: string, threads: number): Promise<number> {
  await using victim = await IdleVictim.start(program, threads);
  const { pid, pidfd } = victim;
  const programs = [Buffer.from('060000000000ff7f', 'hex')];
  const injected = native.injectByThread({
    pid,
    pidfd,
    programs,
    threads: [],
    others: [0],
    together: -1,
    ruleset: -1,
    deadlineMs,
  });
  if (!injected.ok) throw new Error(`no filter was injected: ${injected.step}, errno ${injected.errno}`);
  return injected.stoppedMicroseconds;
}

/** A guest that runs is sealed: what a user asks for at run time, broker included. */
async function onQemu(): Promise<readonly Figure[]> {
  const guest = guestArguments(await buildGuest({ cacheFolder: packagePath('.cache') }));
  const paused: OnQemu[] = [];
  const running: OnQemu[] = [];
  const vms = 7;
  for (let round = 0; round < vms; round++) {
    await using sandbox = await launch({
      command: ['qemu-system-x86_64', ...guest],
      until: 'start',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    paused.push(await enterTimed(sandbox, 'running'));
    await sandbox.vmm.cont();
    await new GuestConsole(sandbox.stdout).waitForLine(/ratchet-guest: tick/, 60_000);
    running.push(await enterTimed(sandbox, 'sealed'));
  }
  return [...figuresOf('QEMU paused, running', paused), ...figuresOf('QEMU with a running guest, sealed', running)];
}

interface OnQemu {
  /** Milliseconds until the stage was verified, and until its report was there, for which the broker is attested too. */
  readonly verified: number;
  readonly reported: number;
}

async function enterTimed(sandbox: Sandbox, stage: string): Promise<OnQemu> {
  let verified = Number.NaN;
  const begun = performance.now();
  // The event comes when every thread has been read and compared.
  const stop = sandbox.events.watch(({ type }) => {
    if (type === 'stage') verified = performance.now() - begun;
  });
  await sandbox.enter(stage);
  const reported = performance.now() - begun;
  stop();
  return { verified, reported };
}

function figuresOf(name: string, runs: readonly OnQemu[]): readonly Figure[] {
  const [verified, reported] = [runs.map((run) => run.verified), runs.map((run) => run.reported)];
  return [
    measured(`${name}: request to verified stage`, 'ms', verified, { goal: atMost(5, quantile(verified, 0.5), 'ms') }),
    measured(`${name}: request to report`, 'ms', reported),
  ];
}
