// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { native } from '../../native/index.ts';
import { assemble, verdict } from './assemble.ts';
import { useVictims } from './use-victims.ts';
import { allowAll, Victim } from './victim.ts';

const EPERM = 1;
const ESRCH = 3;
const EBUSY = 16;
const EINVAL = 22;

useVictims();

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
