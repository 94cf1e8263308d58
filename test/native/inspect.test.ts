// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { readTasks, tracerOf } from '../../core/stages/tasks.ts';
import { native } from '../../native/index.ts';
import { buildBenchVictim, IdleVictim } from '../bench/idle-victim.ts';
import { assemble, verdict } from './assemble.ts';
import { useVictims } from './use-victims.ts';
import { allowAll, Victim } from './victim.ts';

useVictims();

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

  it('looks at each of many threads once, by two tracers, and lets all go', async () => {
    await using victim = await IdleVictim.start(buildBenchVictim(), 41);
    const { pid, pidfd } = victim;
    const { threads } = native.inspectThreads({ pid, pidfd, patienceMs: 0, deadlineMs: 10_000 });
    const tids = readTasks(pid).map(({ tid }) => tid);
    expect(threads.map(({ tid }) => tid).toSorted((a, b) => a - b)).toEqual(tids);
    for (const thread of threads) expect(thread).toMatchObject({ visit: 'stopped', noNewPrivs: true });
    expect(tids.map(tracerOf)).toEqual(tids.map(() => 0));
  });

  it('says of a thread that is traced that it could not be looked at', async () => {
    await using victim = await Victim.start('traced');
    expect(victim.inspect().threads).toMatchObject([{ tid: victim.pid, visit: 'refused' }]);
    expect(await victim.end()).toBe('ok');
  });
});
