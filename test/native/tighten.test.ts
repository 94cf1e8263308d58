// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { native } from '../../native/index.ts';
import { tightenWorking } from './tighten-working.ts';
import { useVictims } from './use-victims.ts';
import { allowAll, buildStaticVictim, mappings, nextTurn, Victim } from './victim.ts';

useVictims();

describe('injectFilter and inspectThreads change nothing that a program can see', () => {
  it('in threads that wait in calls: none returns EINTR or early', async () => {
    await using victim = await Victim.start('waiting');
    await victim.asleep();
    const before = mappings(victim.pid);
    for (let round = 1; round <= 20; round++) {
      expect(victim.inject()).toMatchObject({ ok: true, tid: victim.pid });
      await victim.asleep();
      expect(victim.quiesce()).toEqual([]);
      await victim.asleep();
      expect(victim.filters()).toEqual([round]);
    }
    expect(mappings(victim.pid)).toBe(before);
    expect(await victim.end()).toBe('ok');
  });

  it.each(['sleeping', 'sleeping-leader'])(
    'in threads that sleep for a time (%s): they sleep that long',
    async (name) => {
      await using victim = await Victim.start(name);
      const begin = performance.now();
      let rounds = 0;
      // Through the first second of 1.5.
      while (performance.now() - begin < 1000) {
        expect(victim.inject()).toMatchObject({ ok: true });
        expect(victim.quiesce()).toEqual([]);
        rounds++;
        const next = begin + rounds * 50;
        while (performance.now() < next) await nextTurn();
      }
      expect(victim.filters()).toEqual([rounds]);
      expect(await victim.end()).toBe('ok');
    },
  );

  it.each(['spinning', 'signalled', 'churning'])('in a program that is %s', async (name) => {
    await using victim = await Victim.start(name);
    for (let round = 1; round <= 100; round++) {
      expect(victim.inject()).toMatchObject({ ok: true });
      expect(victim.quiesce()).toEqual([]);
      expect(victim.filters()).toEqual([round]);
      await nextTurn();
    }
    expect(await victim.end()).toBe('ok');
  });

  it.each([
    ['that computes in registers and makes no call', 'spinning-leader'],
    ['inside a restartable sequence, which is aborted as after any preemption', 'restartable'],
  ])('in a leader %s', async (_, name) => {
    await using victim = await Victim.start(name);
    for (let round = 1; round <= 100; round++) {
      expect(victim.inject()).toMatchObject({ ok: true, tid: victim.pid });
      expect(victim.quiesce()).toEqual([]);
    }
    expect(victim.filters()).toEqual([100]);
    native.sendSignal({ pidfd: victim.pidfd, signal: 10 });
    expect(await victim.judgement()).toBe('ok');
  });

  it('in a static program', async () => {
    await using victim = await Victim.start('waiting', { program: buildStaticVictim() });
    expect(victim.inject()).toMatchObject({ ok: true });
    expect(victim.quiesce()).toEqual([]);
    expect(victim.filters()).toEqual([1]);
    expect(await victim.end()).toBe('ok');
  });

  it('in a program without a vDSO', async () => {
    await using victim = await Victim.start('without-vdso');
    expect(victim.inject()).toMatchObject({ ok: true });
    expect(victim.filters()).toEqual([1]);
    expect(await victim.end()).toBe('ok');
  });

  it('in a process whose leader has ended', async () => {
    await using victim = await Victim.start('leader-gone');
    const injected = victim.inject();
    expect(injected).toMatchObject({ ok: true });
    expect(injected.tid).not.toBe(victim.pid);
    expect(victim.quiesce()).toEqual([]);
    expect(victim.filters()).toEqual([1]);
    expect(await victim.end()).toBe('ok');
  });

  it('in a stopped process, which stays stopped until it is continued', async () => {
    await using victim = await Victim.start('waiting');
    native.sendSignal({ pidfd: victim.pidfd, signal: 19 });
    const allStopped = async () => {
      while (victim.threads().some(({ state }) => state !== 'T')) await nextTurn();
    };
    await allStopped();
    expect(victim.inject()).toMatchObject({ ok: true });
    await allStopped();
    expect(victim.quiesce()).toEqual([]);
    await allStopped();
    native.sendSignal({ pidfd: victim.pidfd, signal: 18 });
    await victim.asleep();
    expect(victim.filters()).toEqual([1]);
    expect(await victim.end()).toBe('ok');
  });
});

describe('a thread that waits for a seccomp supervisor', () => {
  it('is passed over, reported and not interrupted', async () => {
    await using victim = await Victim.start('supervised');
    const injected = victim.inject();
    expect(injected).toMatchObject({ ok: true });
    expect(injected.tid).not.toBe(victim.pid);
    expect(victim.quiesce()).toEqual([victim.pid]);
    expect(victim.filters()).toEqual([2]);
    expect(await victim.end()).toBe('ok');
  });

  it('and is alone: the injection is refused at its deadline, with nothing changed', async () => {
    await using victim = await Victim.start('supervised-alone');
    const { pid, pidfd } = victim;
    expect(native.injectFilter({ pid, pidfd, program: allowAll, deadlineMs: 50 })).toEqual({
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

describe('200 tightenings of a program that makes threads, moves data and gets signals', () => {
  it.each(['together', 'by thread'] as const)('%s leave its results as they were', async (way) => {
    const { judgement, stopped } = await tightenWorking(way, 200);
    expect(judgement).toBe('ok');
    expect(stopped).toHaveLength(200);
  });
});
