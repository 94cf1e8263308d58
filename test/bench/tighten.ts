// SPDX-License-Identifier: Apache-2.0
// Suite `tighten`: how long a process stands still while a stage is entered, and how long the whole way takes, proof from outside included.

import { compileProfile } from '../../core/compiler/index.ts';
import { buildGuest, guestArguments } from '../../core/demo/guest.ts';
import { GuestConsole } from '../../core/demo/guest-console.ts';
import { launch } from '../../core/launch/launch.ts';
import { countsOption } from '../../core/profile-counts.ts';
import { loadProfile } from '../../core/profile-files.ts';
import { ownFilterCount } from '../../core/stages/tasks.ts';
import { verifyThreads } from '../../core/stages/verify.ts';
import { native } from '../../native/index.ts';
import { packagePath } from '../../native/package-path.ts';
import { atMost, exact, type Figure, measured, quantile } from './figure.ts';
import { buildBenchVictim, IdleVictim } from './idle-victim.ts';

const deadlineMs = 10_000;
const rounds = 50;

export async function benchTighten(): Promise<readonly Figure[]> {
  const victim = buildBenchVictim();
  const profile = loadProfile('qemu');
  const [start] = compileProfile(profile, countsOption(profile)).stages;
  if (start === undefined) throw new Error('the profile of QEMU has no stage');
  const byThreads = [4, 16, 64].map((threads) => ({ threads, runs: [] as OneRun[] }));
  // The sizes take turns, so that what else the machine does falls on all of them.
  for (let round = 0; round < rounds; round++)
    for (const { threads, runs } of byThreads) runs.push(await tightenOnce(victim, threads, start.program));
  const totals = byThreads.map(({ runs }) =>
    quantile(
      runs.map(({ totalMs }) => totalMs),
      0.5,
    ),
  );
  const growth = (((totals[2] ?? 0) - (totals[0] ?? 0)) * 1000) / 60;
  return [
    ...byThreads.flatMap(({ threads, runs }) => {
      const stopped = runs.map(({ stoppedMicroseconds }) => stoppedMicroseconds);
      const total = runs.map(({ totalMs }) => totalMs);
      return [
        measured(`carrier thread stands still, ${threads} threads`, 'us', stopped, {
          ...(threads === 4 ? { goal: atMost(300, quantile(stopped, 0.5), 'us') } : {}),
        }),
        measured(
          `quiesce, ${threads} threads`,
          'ms',
          runs.map(({ quiesceMs }) => quiesceMs),
        ),
        measured(
          `verify from outside, ${threads} threads`,
          'ms',
          runs.map(({ verifyMs }) => verifyMs),
        ),
        measured(`request to verified stage, ${threads} threads`, 'ms', total, {
          goal: atMost(5, quantile(total, 0.5), 'ms'),
        }),
      ];
    }),
    exact('request to verified stage, growth', 'us/thread', growth, { goal: atMost(20, growth, 'us'), n: rounds }),
    ...(await onQemu()),
  ];
}

interface OneRun {
  readonly stoppedMicroseconds: number;
  readonly quiesceMs: number;
  readonly verifyMs: number;
  readonly totalMs: number;
}

async function tightenOnce(program: string, threads: number, filter: Uint8Array): Promise<OneRun> {
  await using victim = await IdleVictim.start(program, threads);
  const { pid, pidfd } = victim;
  // The steps of core/stages/tighten.ts one by one, without a broker.
  const begun = performance.now();
  const injected = native.injectFilter({ pid, pidfd, program: filter, deadlineMs });
  if (!injected.ok) throw new Error(`the filter was not injected: ${injected.step}, errno ${injected.errno}`);
  const atQuiesce = performance.now();
  const atVerify = performance.now();
  const stages = [{ name: 'start', program: filter, roles: {} }];
  verifyThreads({ pid, pidfd, inheritedFilters: ownFilterCount(), stages, roles: new Map(), deadlineMs });
  const ended = performance.now();
  return {
    stoppedMicroseconds: injected.stoppedMicroseconds,
    quiesceMs: atVerify - atQuiesce,
    verifyMs: ended - atVerify,
    totalMs: ended - begun,
  };
}

/** A guest that runs is sealed: what a user asks for at run time, broker included. */
async function onQemu(): Promise<readonly Figure[]> {
  const guest = guestArguments(await buildGuest({ cacheFolder: packagePath('.cache') }));
  const paused: number[] = [];
  const running: number[] = [];
  const vms = 7;
  for (let round = 0; round < vms; round++) {
    await using sandbox = await launch({
      command: ['qemu-system-x86_64', ...guest],
      until: 'start',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const before = performance.now();
    await sandbox.enter('running');
    paused.push(performance.now() - before);
    await sandbox.vmm.cont();
    await new GuestConsole(sandbox.stdout).waitForLine(/ratchet-guest: tick/, 60_000);
    const whileRunning = performance.now();
    await sandbox.enter('sealed');
    running.push(performance.now() - whileRunning);
  }
  return [
    measured('QEMU paused: enter running', 'ms', paused, { goal: atMost(5, quantile(paused, 0.5), 'ms') }),
    measured('QEMU with a running guest: enter sealed', 'ms', running, {
      goal: atMost(5, quantile(running, 0.5), 'ms'),
    }),
  ];
}
