// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { native } from '../../native/index.ts';
import { assemble, verdict } from './assemble.ts';
import { buildProgram } from './build-program.ts';
import { tightenWorking } from './tighten-working.ts';
import { allowAll, buildStaticVictim, nextTurn, Victim } from './victim.ts';

const EPERM = 1;
const ESRCH = 3;
const EBUSY = 16;
const EINVAL = 22;

/** The mappings, without the heap's and the stack's own growth. */
function mappings(pid: number): string {
  return readFileSync(`/proc/${pid}/maps`, 'utf8');
}

function openFdsOfSelf(): string[] {
  return readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return 'the listing itself';
    }
  });
}

let fdsBefore: number;
beforeAll(() => {
  buildProgram('victim');
  fdsBefore = openFdsOfSelf().length;
});
afterEach(async () => {
  // The pipes of a child that has ended are closed a turn later.
  for (let turns = 0; turns < 1000 && openFdsOfSelf().length > fdsBefore; turns++) await nextTurn();
  expect(openFdsOfSelf().length).toBeLessThanOrEqual(fdsBefore);
});

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

describe('injectFilter refuses, with nothing changed,', () => {
  it.each([
    ['that is traced already', 'traced', 'traced', EBUSY],
    ['that has ended', 'zombie', 'process', ESRCH],
    ['whose filter answers seccomp with an errno', 'refusing-errno', 'seccomp', EPERM],
    ['whose filter would kill it for calling seccomp', 'refusing-kill', 'seccomp', EPERM],
    ['whose filter traps seccomp', 'refusing-trap', 'seccomp', EPERM],
    ['whose filter refuses mmap', 'refusing-mmap', 'mmap', EPERM],
  ])('a process %s', async (_, name, step, errno) => {
    await using victim = await Victim.start(name);
    const before = victim.threads().map(({ filters }) => filters);
    expect(victim.inject()).toEqual({ ok: false, step, errno, tid: victim.pid, dirty: false });
    expect(victim.threads().map(({ filters }) => filters)).toEqual(before);
    expect(await victim.end()).toBe('ok');
  });

  it('a process with a thread that has a filter of its own, and names the thread', async () => {
    await using victim = await Victim.start('divergent');
    expect(victim.inject()).toEqual({ ok: false, step: 'tsync', errno: ESRCH, tid: victim.pid, dirty: false });
    expect(await victim.end()).toBe('ok');
  });

  it('also when the number of filters is the same everywhere and only the kernel can tell', async () => {
    await using victim = await Victim.start('divergent-same-count');
    await victim.asleep();
    expect(victim.inject()).toEqual({ ok: false, step: 'tsync', errno: ESRCH, tid: victim.pid, dirty: false });
    expect(await victim.end()).toBe('ok');
  });

  it('a filter under which the scratch memory could not be given back', async () => {
    await using victim = await Victim.start('waiting');
    const program = assemble([{ nr: 11, verdict: verdict.errno(EPERM) }]);
    expect(victim.inject(program)).toMatchObject({ ok: false, step: 'program', errno: EINVAL, dirty: false });
    expect(victim.filters()).toEqual([0]);
    expect(await victim.end()).toBe('ok');
  });

  it('bytes that the kernel does not take for a filter', async () => {
    await using victim = await Victim.start('waiting');
    expect(victim.inject(Buffer.alloc(7))).toMatchObject({ ok: false, step: 'program', errno: EINVAL, dirty: false });
    expect(victim.inject(Buffer.alloc(0))).toMatchObject({ ok: false, step: 'program', errno: EINVAL, dirty: false });
    // Allows on our simulator, but ends without a return on another path: the kernel's checker refuses it.
    const unending = Buffer.concat([allowAll, Buffer.from('2000000000000000', 'hex')]);
    expect(victim.inject(unending)).toMatchObject({ ok: false, step: 'seccomp', errno: EINVAL, dirty: false });
    expect(victim.filters()).toEqual([0]);
    expect(await victim.end()).toBe('ok');
  });

  it('a pid that its pidfd does not pin', async () => {
    await using victim = await Victim.start('waiting');
    await using other = await Victim.start('waiting');
    const refusal = { ok: false, step: 'process', errno: ESRCH, tid: other.pid, dirty: false };
    const options = { pidfd: victim.pidfd, program: allowAll, deadlineMs: 1000 };
    expect(native.injectFilter({ pid: other.pid, ...options })).toEqual(refusal);
    expect(() =>
      native.inspectThreads({ pid: other.pid, pidfd: victim.pidfd, patienceMs: 0, deadlineMs: 1000 }),
    ).toThrow(/ESRCH/);
    expect(other.filters()).toEqual([0]);
  });
});

describe('inspectThreads', () => {
  it('gives the programs of each thread, oldest first, the longest included', async () => {
    await using victim = await Victim.start('filtered');
    const second = assemble([{ nr: 163, verdict: verdict.errno(2) }]);
    const noOperation = Buffer.from('0000000000000000', 'hex');
    const longest = Buffer.concat([...Array.from({ length: 4095 }, () => noOperation), allowAll]);
    expect(victim.inject(second)).toMatchObject({ ok: true });
    expect(victim.inject(longest)).toMatchObject({ ok: true });
    const { threads, programs, unreadable } = victim.inspect();
    expect(unreadable).toBe(0);
    expect(threads.map(({ tid }) => tid).sort()).toEqual(
      victim
        .threads()
        .map(({ tid }) => tid)
        .sort(),
    );
    for (const thread of threads) {
      expect(thread).toMatchObject({ visit: 'stopped', mode: 2, filters: 3, noNewPrivs: true });
      const own = thread.programs?.map((place) => programs[place]);
      expect(own?.map((program) => program?.length)).toEqual([32, 32, 32768]);
      expect(own?.[1]?.equals(second)).toBe(true);
      expect(own?.[2]?.equals(longest)).toBe(true);
    }
    expect(programs).toHaveLength(3);
    expect(await victim.end()).toBe('ok');
  });

  it('gives none for a thread without a filter, and does not disturb its call', async () => {
    await using victim = await Victim.start('waiting');
    await victim.asleep();
    for (const thread of victim.inspect().threads)
      expect(thread).toMatchObject({ visit: 'stopped', mode: 0, programs: [] });
    expect(await victim.end()).toBe('ok');
  });

  it('says of a thread that is traced that it could not be looked at', async () => {
    await using victim = await Victim.start('traced');
    expect(victim.inspect().threads).toMatchObject([{ tid: victim.pid, visit: 'refused' }]);
    expect(await victim.end()).toBe('ok');
  });
});

describe('injectByThread', () => {
  it.each(['waiting', 'spinning', 'signalled', 'churning', 'leader-gone', 'divergent', 'without-vdso'])(
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
    const wanted = { programs: [allowAll, refuses], others: [], threads: [{ tid: named ?? 0, programs: [1, 0] }] };
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
    const wanted = { programs: [allowAll], others: [0], threads: [], deadlineMs: 50 };
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

describe('200 tightenings of a program that makes threads, moves data and gets signals', () => {
  it.each(['together', 'by thread'] as const)('%s leave its results as they were', async (way) => {
    const { judgement, stopped } = await tightenWorking(way, 200);
    expect(judgement).toBe('ok');
    expect(stopped).toHaveLength(200);
  });
});
