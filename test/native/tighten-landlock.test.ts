// SPDX-License-Identifier: Apache-2.0
// Every thread is made to enter a tighter Landlock domain before it gets its filter: all of them, those that are made meanwhile included, or none, or the process is dead.
import { describe, expect, it } from 'vitest';
import { native } from '../../native/index.ts';
import { harmless, inject, untraced, useFaults } from './faults.ts';
import { useVictims } from './use-victims.ts';
import { allowAll, Victim } from './victim.ts';

/** As the victims have it (programs/victim/landlock.c). */
const ruleset = 400;
const EPERM = 1;
const EBADF = 9;

const dangerous = ['mask', 'mmap', 'landlock', 'write', 'seccomp', 'munmap', 'return', 'restore', 'detach'];

useVictims();
useFaults();

const fault = (victim: Victim, step: string, event: string, uid?: number): ReturnType<typeof inject> =>
  inject(victim, step, event, uid, 'landlock');

function restrict({ pid, pidfd }: Victim): ReturnType<typeof native.injectByThread> {
  const wanted = { programs: [allowAll], threads: [], others: [0], together: -1, ruleset };
  return native.injectByThread({ pid, pidfd, ...wanted, deadlineMs: 10_000 });
}

describe('a tighter Landlock domain', () => {
  it('is entered by every thread, those that are made meanwhile included, and what is open stays', async () => {
    await using victim = await Victim.start('landlock-ready');
    const restricted = restrict(victim);
    expect(restricted).toMatchObject({ ok: true });
    // Six that wait and the leader; of the relays' those that were met.
    expect(restricted.ok && restricted.tids.length).toBeGreaterThanOrEqual(7);
    expect(await victim.end()).toBe('restricted');
  });

  it('is not there before', async () => {
    await using victim = await Victim.start('landlock-ready');
    expect(victim.injectByThread()).toMatchObject({ ok: true });
    expect(await victim.end()).toBe('free');
  });

  it('is only made for all threads of a process', async () => {
    await using victim = await Victim.start('landlock-ready');
    const { pid, pidfd } = victim;
    const one = { programs: [allowAll], threads: [{ tid: pid, programs: [0] }], others: [], together: -1, ruleset };
    const refused = { ok: false, step: 'program', errno: 22, tid: 0, dirty: false };
    expect(native.injectByThread({ pid, pidfd, ...one, deadlineMs: 1000 })).toEqual(refused);
    expect(await victim.end()).toBe('free');
  });

  it.each([
    ['that has closed the ruleset', 'landlock-closed', EBADF],
    ['whose filter refuses the call', 'landlock-refusing-errno', EPERM],
    ['whose filter answers the call, as if it had been made', 'landlock-answering', EPERM],
    ['whose filter kills for it', 'landlock-refusing-kill', EPERM],
  ])('changes nothing in a process %s', async (_, name, errno) => {
    await using victim = await Victim.start(name);
    const before = victim.filters();
    expect(restrict(victim)).toEqual({
      ok: false,
      step: 'landlock',
      errno,
      tid: expect.any(Number),
      dirty: false,
    });
    expect(victim.filters()).toEqual(before);
    expect(await victim.end()).toBe('free');
  });

  it('changes nothing where the filters may not be read, and one refuses the call', async () => {
    const uid = 65534;
    await using victim = await Victim.start('landlock-refusing-errno', { uid });
    expect((await fault(victim, '*', 'none', uid)).said).toMatch(/^landlock ENOSYS \d+ clean$/);
    expect(await victim.end()).toBe('free');
  });
});

describe('the launcher is killed', () => {
  it.each(harmless)('before step %s: the process is untouched', async (step) => {
    await using victim = await Victim.start('landlock-ready');
    await fault(victim, step, 'die');
    await untraced(victim);
    expect(victim.filters()).toEqual([0]);
    expect(await victim.end()).toBe('free');
  });

  it.each(dangerous)('before step %s: the process is killed', async (step) => {
    await using victim = await Victim.start('landlock-ready');
    await fault(victim, step, 'die');
    expect(await victim.ended()).toBe('SIGKILL');
  });
});

describe('when some threads are in the domain already', () => {
  /** Of the second thread: the survey's, and the anchor's first, come before. */
  async function second(step: string): Promise<string> {
    await using victim = await Victim.start('landlock-ready');
    const { steps } = await fault(victim, '*', 'none');
    return `#${steps.indexOf(step, steps.indexOf(step) + 1)}`;
  }

  it.each(['landlock', 'seccomp'])(
    'the death of the launcher before step %s is the death of the process',
    async (step) => {
      await using victim = await Victim.start('landlock-ready');
      await fault(victim, await second(step), 'die');
      expect(await victim.ended()).toBe('SIGKILL');
    },
  );

  it('a ruleset that the program closes is its death', async () => {
    await using victim = await Victim.start('landlock-ready');
    const run = await fault(victim, await second('landlock'), 'close');
    expect(run.said).toMatch(/^landlock EBADF \d+ dirty$/);
    expect(await victim.ended()).toBe('SIGKILL');
  });
});
