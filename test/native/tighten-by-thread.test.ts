// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { native } from '../../native/index.ts';
import { assemble, verdict } from './assemble.ts';
import { useVictims } from './use-victims.ts';
import { allowAll, mappings, nextTurn, Victim } from './victim.ts';

const EPERM = 1;
const ESRCH = 3;
const EBUSY = 16;

useVictims();

describe('injectByThread', () => {
  it.each(['waiting', 'spinning', 'signalled', 'churning', 'relayed', 'leader-gone', 'divergent', 'without-vdso'])(
    'gives each thread a filter of its own in a program that is %s, which cannot tell',
    async (name) => {
      await using victim = await Victim.start(name);
      const before = new Map(victim.threads().map(({ tid, filters }) => [tid, filters]));
      const rounds = 20;
      for (let round = 0; round < rounds; round++) {
        expect(victim.injectByThread()).toMatchObject({ ok: true });
        await nextTurn();
      }
      for (const { tid, filters } of victim.threads()) expect(filters).toBe((before.get(tid) ?? 0) + rounds);
      expect(await victim.end()).toBe('ok');
    },
  );

  it('gives it to the named thread, and stops no other but the leader, which lends memory', async () => {
    await using victim = await Victim.start('waiting');
    await victim.asleep();
    const before = mappings(victim.pid);
    const [named, ...others] = victim
      .threads()
      .map(({ tid }) => tid)
      .filter((tid) => tid !== victim.pid);
    const { pid, pidfd } = victim;
    const refuses = assemble([{ nr: 163, verdict: verdict.errno(EPERM) }]);
    const wanted = {
      programs: [allowAll, refuses],
      others: [],
      together: -1,
      ruleset: -1,
      threads: [{ tid: named ?? 0, programs: [1, 0] }],
    };
    expect(native.injectByThread({ pid, pidfd, deadlineMs: 10_000, ...wanted })).toMatchObject({
      ok: true,
      tids: [named],
    });
    await victim.asleep();
    const { threads, programs } = victim.inspect();
    for (const thread of threads)
      expect([thread.tid, thread.filters]).toEqual([thread.tid, thread.tid === named ? 2 : 0]);
    const installed = threads.find(({ tid }) => tid === named)?.programs?.map((place) => programs[place]);
    expect(installed).toEqual([refuses, allowAll]);
    expect(others.length).toBeGreaterThan(5);
    expect(mappings(victim.pid)).toBe(before);
    // Threads that differ cannot be synchronised.
    expect(victim.inject()).toMatchObject({ ok: false, step: 'tsync', dirty: false });
    expect(await victim.end()).toBe('ok');
  });

  it.each([
    ['that is traced already', 'traced', 'traced', EBUSY],
    ['that has ended', 'zombie', 'process', ESRCH],
    ['whose filter answers seccomp with an errno', 'refusing-errno', 'seccomp', EPERM],
    ['whose filter would kill it for calling seccomp', 'refusing-kill', 'seccomp', EPERM],
    ['whose filter traps seccomp', 'refusing-trap', 'seccomp', EPERM],
    ['whose filter refuses mmap', 'refusing-mmap', 'mmap', EPERM],
  ])('refuses, with nothing changed, a process %s', async (_, name, step, errno) => {
    await using victim = await Victim.start(name);
    const before = victim.threads().map(({ filters }) => filters);
    // Which thread is asked first is the kernel's order.
    expect(victim.injectByThread()).toEqual({ ok: false, step, errno, tid: expect.any(Number), dirty: false });
    expect(victim.threads().map(({ filters }) => filters)).toEqual(before);
    expect(await victim.end()).toBe('ok');
  });

  it('waits for a thread that waits for a supervisor while all others run, and refuses at its deadline', async () => {
    await using victim = await Victim.start('supervised');
    const { pid, pidfd } = victim;
    const wanted = { programs: [allowAll], others: [0], together: -1, ruleset: -1, threads: [], deadlineMs: 50 };
    expect(native.injectByThread({ pid, pidfd, ...wanted })).toEqual({
      ok: false,
      step: 'stop',
      errno: 110,
      tid: pid,
      dirty: false,
    });
    expect(victim.filters()).toEqual([1]);
    expect(await victim.end()).toBe('ok');
  });
});
