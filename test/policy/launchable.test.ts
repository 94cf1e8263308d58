// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { assertLaunchable } from '../../core/policy/index.ts';
import { loadProfile, shippedProfiles } from '../../core/profile-files.ts';

const first = ['one-exec', 'next-stage', 'dynamic-linking', 'memory'];
const later = ['next-stage', 'memory'];

/** The next stage's memory is mapped when its broker already answers. */
const quietMmap = { refuse: ['mmap'], errno: 'ENOMEM', quiet: true, why: 'no more memory' };

function profile(start: readonly unknown[], running: readonly unknown[]): object {
  const allow = (calls: readonly unknown[]) => ({ syscalls: calls });
  return {
    version: 1,
    name: 'example',
    vmm: 'program',
    include: ['groups/start', 'groups/process'],
    stages: { start: allow(start), running: allow([...running, quietMmap]) },
  };
}

const use = (names: readonly string[]) => ({ use: names });

describe('a profile that a program can be started and tightened under', () => {
  it('is every shipped one', () => {
    // The broker is no program that is launched: it confines itself.
    for (const name of shippedProfiles().filter((name) => name !== 'broker'))
      for (const arch of ['x86_64', 'aarch64', 'riscv64'] as const) assertLaunchable(loadProfile(name, { arch }));
  });

  it('has the groups for it', () => {
    assertLaunchable(loadProfile(profile([use(first)], [use(later)])));
  });

  it.each([
    ['one-exec', 'start does not allow sendmsg, and without it the stager hands'],
    ['next-stage', 'start does not allow seccomp, and without it the next stage is installed'],
    ['dynamic-linking', "start does not allow mmap, and without it the next stage's program"],
    ['memory', 'start does not allow munmap'],
  ])('is none without %s in its first stage', (group, message) => {
    const without = first.filter((name) => name !== group);
    expect(() => assertLaunchable(loadProfile(profile([use(without)], [])))).toThrow(message);
  });

  it('is none when a later stage does not allow munmap', () => {
    expect(() => assertLaunchable(loadProfile(profile([use(first)], [])))).toThrow('running does not allow munmap');
  });

  it('is none when a later stage would have the broker answer the installation itself', () => {
    const aloud = { ...quietMmap, quiet: false };
    const loud = { ...(profile([use(first)], []) as { stages: object }) };
    const stages = { ...loud.stages, running: { syscalls: [use(later), aloud] } };
    expect(() => assertLaunchable(loadProfile({ ...loud, stages }))).toThrow('running refuses aloud to map memory');
  });

  it('is none when a stage leaves to the broker what the stager calls before there is one', () => {
    const brokered = { broker: ['sendmsg'], why: 'addresses' };
    expect(() => assertLaunchable(loadProfile(profile([use(first)], [use(later), brokered])))).toThrow(
      'running leaves sendmsg to the broker',
    );
  });
});
