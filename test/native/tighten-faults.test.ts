// SPDX-License-Identifier: Apache-2.0
// The worst at every step of an injection: a process ends up untouched, tightened or dead, and never half done or stopped.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { native } from '../../native/index.ts';
import { buildEngineProgram } from './build-engine-program.ts';
import { harmless, inject, untraced, useFaults } from './faults.ts';
import { readable } from './fds.ts';
import { nextTurn, Victim } from './victim.ts';

/** PTRACE_O_EXITKILL is set: the end of the tracer is the end of the process. */
const dangerous = ['mask', 'mmap', 'write', 'seccomp', 'munmap', 'return', 'restore', 'detach'];
const steps = [...harmless, ...dangerous];

useFaults();

it.each(['together', 'by-thread', 'with-role'] as const)(
  'takes the steps that these tests know of (%s)',
  async (way) => {
    await using victim = await Victim.start('waiting');
    const run = await inject(victim, '*', 'none', undefined, way);
    expect({ ...run, steps: [...new Set(run.steps)].toSorted() }).toEqual({
      said: 'ok',
      steps: steps.toSorted(),
      signal: null,
    });
    expect(victim.filters()).toEqual(way === 'with-role' ? [2, 1] : [1]);
    expect(await victim.end()).toBe('ok');
  },
);

describe('a launcher without privilege', () => {
  const uid = 65534;

  it('tightens its own process, though it may not read the filters', async () => {
    await using victim = await Victim.start('filtered', { uid });
    expect((await inject(victim, '*', 'none', uid)).said).toBe('ok');
    expect(victim.filters()).toEqual([2]);
    expect(await victim.end()).toBe('ok');
  });

  it.each([
    ['refusing-errno', 'ENOSYS'],
    // Our simulator is not asked here; the trap is caught, and its SIGSYS swallowed.
    ['refusing-trap', 'EPERM'],
    // Behind more queued signals than are looked at together; none of them is lost.
    ['refusing-trap-late', 'EPERM'],
  ])('is refused cleanly by the filter of %s', async (name, errno) => {
    await using victim = await Victim.start(name, { uid });
    expect((await inject(victim, '*', 'none', uid)).said).toBe(`seccomp ${errno} ${victim.pid} clean`);
    expect(victim.filters()).toEqual([1]);
    expect(await victim.end()).toBe('ok');
  });

  it('is refused a process that is not dumpable', async () => {
    await using victim = await Victim.start('undumpable', { uid });
    expect((await inject(victim, '*', 'none', uid)).said).toBe(`seize EACCES ${victim.pid} clean`);
    expect(victim.filters()).toEqual([0]);
    expect(await victim.end()).toBe('ok');
  });

  it("is refused another user's process", async () => {
    await using victim = await Victim.start('waiting');
    expect((await inject(victim, '*', 'none', uid)).said).toBe(`process EPERM ${victim.pid} clean`);
    expect(victim.filters()).toEqual([0]);
    expect(await victim.end()).toBe('ok');
  });
});

describe.each(['together', 'by-thread', 'with-role'] as const)('the launcher is killed (%s)', (way) => {
  it.each(harmless)('before step %s: the process is untouched', async (step) => {
    await using victim = await Victim.start('waiting');
    await victim.asleep();
    expect((await inject(victim, step, 'die', undefined, way)).signal).toBe('SIGKILL');
    await untraced(victim);
    expect(victim.filters()).toEqual([0]);
    expect(await victim.end()).toBe('ok');
  });

  it.each(dangerous)('before step %s: the process is killed', async (step) => {
    await using victim = await Victim.start('waiting');
    expect((await inject(victim, step, 'die', undefined, way)).signal).toBe('SIGKILL');
    expect(await victim.ended()).toBe('SIGKILL');
  });
});

describe('thread by thread, when some have the filter and some do not', () => {
  const lastOf = async (name: string, step: string): Promise<string> => {
    await using victim = await Victim.start(name);
    return `#${(await inject(victim, '*', 'none', undefined, 'by-thread')).steps.lastIndexOf(step)}`;
  };

  it.each(steps)('the death of the launcher before the last step %s is the death of the process', async (step) => {
    await using victim = await Victim.start('waiting');
    // The survey looks at all threads before anything is changed.
    const harmless = step === 'foresee';
    await inject(victim, await lastOf('waiting', step), 'die', undefined, 'by-thread');
    if (harmless) await untraced(victim);
    if (harmless) expect(victim.filters()).toEqual([0]);
    expect(await (harmless ? victim.end() : victim.ended())).toBe(harmless ? 'ok' : 'SIGKILL');
  });

  it.each(steps)('SIGSTOP and SIGCONT before the last step %s: nothing comes of them', async (step) => {
    await using victim = await Victim.start('counting');
    const run = await inject(victim, await lastOf('counting', step), 'continue', undefined, 'by-thread');
    expect(run.said).toBe('ok');
    await victim.asleep();
    expect(victim.filters()).toEqual([1]);
    expect(await victim.end()).toBe('SIGRTMIN 0 SIGSYS 0');
  });
});

describe.each(['together', 'by-thread'] as const)('the process is killed (%s)', (way) => {
  it.each(steps)('before step %s: the injection says so and ends', async (step) => {
    await using victim = await Victim.start('waiting');
    const run = await inject(victim, step, 'kill', undefined, way);
    expect(run.said).toMatch(dangerous.includes(step) ? /^\w+ ESRCH \d+ dirty$/ : /^\w+ ESRCH \d+ (clean|dirty)$/);
    expect(run.signal).toBeNull();
    await readable(victim.pidfd);
    expect(await victim.ended()).toBe('SIGKILL');
  });
});

describe('SIGTRAP, which a single step raises', () => {
  it.each([
    ['trap-handled', 0, 'together'],
    ['trap-handled', 0, 'with-role'],
    ['trap-ignored', 0, 'together'],
    ['trap-ignored', 0, 'by-thread'],
    ['trap-waiting', 1, 'together'],
    ['trap-waiting', 1, 'by-thread'],
  ] as const)('%s: is what it was afterwards, and has come %i times (%s)', async (name, came, way) => {
    await using victim = await Victim.start(name);
    expect((await inject(victim, '*', 'none', undefined, way)).said).toBe('ok');
    expect(victim.filters().at(-1)).toBeGreaterThan(0);
    expect(await victim.end()).toBe(`SIGTRAP ${came}`);
  });

  it.each(steps)('sent before step %s: the injection succeeds, and it comes once', async (step) => {
    await using victim = await Victim.start('trap-handled');
    expect((await inject(victim, step, 'sigtrap')).said).toBe('ok');
    expect(await victim.end()).toBe('SIGTRAP 1');
  });

  it('sent in a call: the next call is made another way, and the signal comes once', async () => {
    await using victim = await Victim.start('trap-handled');
    const program = buildEngineProgram('trap-in-call');
    const said = await promisify(execFile)(program, [String(victim.pid)]);
    expect(said.stdout).toBe(`${victim.pid}\n`);
    expect(await victim.end()).toBe('SIGTRAP 1');
  });
});

describe('signals to the process', () => {
  it('before every step are all delivered, after it', async () => {
    await using victim = await Victim.start('counting');
    expect((await inject(victim, '*', 'signal')).said).toBe('ok');
    expect(victim.filters()).toEqual([1]);
    expect(await victim.end()).toBe(`SIGRTMIN ${steps.length} SIGSYS 0`);
  });

  it('before every step on every thread are all delivered, after it', async () => {
    await using victim = await Victim.start('counting');
    const run = await inject(victim, '*', 'signal', undefined, 'by-thread');
    expect(run.said).toBe('ok');
    expect(victim.filters()).toEqual([1]);
    expect(await victim.end()).toBe(`SIGRTMIN ${run.steps.length} SIGSYS 0`);
  });

  it.each(steps)('SIGSYS from outside, before step %s: is kept', async (step) => {
    await using victim = await Victim.start('counting');
    expect((await inject(victim, step, 'sigsys')).said).toBe('ok');
    expect(await victim.end()).toBe('SIGRTMIN 0 SIGSYS 1');
  });

  it.each(steps)('SIGSTOP before step %s: the injection succeeds and the process is then stopped', async (step) => {
    await using victim = await Victim.start('counting');
    expect((await inject(victim, step, 'stop')).said).toBe('ok');
    while (victim.threads().some(({ state }) => state !== 'T')) await nextTurn();
    native.sendSignal({ pidfd: victim.pidfd, signal: 18 });
    await victim.asleep();
    expect(await victim.end()).toBe('SIGRTMIN 0 SIGSYS 0');
  });

  it.each(steps)('SIGSTOP and SIGCONT before step %s: nothing comes of them', async (step) => {
    await using victim = await Victim.start('counting');
    expect((await inject(victim, step, 'continue')).said).toBe('ok');
    await victim.asleep();
    expect(victim.filters()).toEqual([1]);
    expect(await victim.end()).toBe('SIGRTMIN 0 SIGSYS 0');
  });
});
