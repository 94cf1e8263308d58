// SPDX-License-Identifier: Apache-2.0
// What a later stage's `layers` may say: never anything that is looser, by any key.
import { describe, expect, it } from 'vitest';
import { loadProfile } from '../../core/profile-files.ts';
import { type RawProfile, type RawStage, readerProfile } from '../layers/reader-profile.ts';

const nextFiles = ['next-stage', 'next-files'];

/** Three stages that are tighter and tighter in every key. */
const running = {
  root: 'empty',
  files: { read: ['/a', '/b/c'], write: ['/w/x'] },
  rlimits: { nofile: 20 },
  cgroup: { pids: 9 },
};
const raw = readerProfile(
  { read: ['/a', '/b'], write: ['/w/'] },
  {
    start: { next: nextFiles },
    running: { next: nextFiles, layers: running },
    sealed: { layers: { files: { read: ['/a'] } } },
  },
);
const profile = { ...raw, layers: { ...raw.layers, namespaces: ['mount'], root: 'minimal', cgroup: { pids: 10 } } };

const inStage = (stage: string, change: (stage: RawStage) => Partial<RawStage>): RawProfile => {
  const before = profile.stages[stage] as RawStage;
  return { ...profile, stages: { ...profile.stages, [stage]: { ...before, ...change(before) } } };
};
const withLayers = (stage: string, layers: object): RawProfile =>
  inStage(stage, (before) => ({ layers: { ...before.layers, ...layers } }));
const withRules = (stage: string, rules: readonly object[], without: readonly string[] = []): RawProfile =>
  inStage(stage, ({ syscalls }) => {
    const kept = syscalls.filter((rule) => !without.some((text) => JSON.stringify(rule).includes(`"${text}"`)));
    return { syscalls: [...kept, ...rules] };
  });

describe('layers of a later stage', () => {
  it('may be tighter in every key', () => {
    expect(loadProfile(profile).stages.map(({ name }) => name)).toEqual(['start', 'running', 'sealed']);
  });

  it.each([
    ['rlimits', { rlimits: { nofile: 21 } }, 'nofile 21, and it was 20'],
    ['cgroup', { cgroup: { pids: 10 } }, 'pids 10, and it was 9'],
    ['files that are read', { files: { read: ['/b'] } }, '/b could not be read before'],
    ['files that are written', { files: { read: [], write: ['/w'] } }, '/w could not be written before'],
    ['files that were only read', { files: { read: [], write: ['/a'] } }, '/a could not be written before'],
    ['a name that begins as another', { files: { read: ['/ab'] } }, '/ab could not be read before'],
  ])('are not looser than those of the stage before: %s', (_, layers, message) => {
    expect(() => loadProfile(withLayers('sealed', layers))).toThrow(`a later stage is never looser: ${message}`);
  });

  it.each([
    ['rlimits', { rlimits: { nofile: 65 } }, 'nofile 65, and it was 64'],
    ['cgroup', { cgroup: { pids: 11 } }, 'pids 11, and it was 10'],
    ['files', { files: { read: ['/c'] } }, '/c could not be read before'],
  ])("are not looser than the profile's own: %s", (_, layers, message) => {
    expect(() => loadProfile(withLayers('running', layers))).toThrow(`a later stage is never looser: ${message}`);
  });

  it.each(['/a/../b', '/a/.', 'a'])('name no files by %s', (path) => {
    const layers = { files: { read: [path] } };
    expect(() => loadProfile(withLayers('sealed', layers))).toThrow(`${path} is no absolute path without . and ..`);
  });

  it('have no key for what only birth can give, and no root but an empty one', () => {
    expect(() => loadProfile(withLayers('running', { root: 'minimal' }))).toThrow('root');
    for (const key of ['namespaces', 'environment'])
      expect(() => loadProfile(withLayers('running', { [key]: [] }))).toThrow(key);
  });

  it('empty no root that is not their own', () => {
    const shared = { ...profile, layers: { ...profile.layers, root: 'copy' } };
    expect(() => loadProfile(shared)).toThrow('only a root that is `minimal`, in a `mount` namespace, can be emptied');
  });
});

describe('a stage that leaves fewer files', () => {
  const line = (text: string): RegExp => new RegExp(`^<object>:\\d+:\\d+: ${text}`, 'm');

  it.each([
    ['landlock_restrict_self', 'next-files', []],
    [
      'landlock_restrict_self',
      'next-files',
      [{ allow: ['landlock_restrict_self'], when: 'flags == 1', why: 'a test' }],
    ],
    ['seccomp', 'next-files', [{ allow: ['landlock_restrict_self'], when: 'flags == 0', why: 'a test' }]],
  ])('needs %s in the stage before', (call, without, rules) => {
    expect(() => loadProfile(withRules('start', rules, [without]))).toThrow(
      line(
        `stage start does not allow ${call} with flags == 0, by which each thread comes to the files of stage running`,
      ),
    );
  });

  it('needs that nobody adds rules to what it enters', () => {
    const adds = { allow: ['landlock_add_rule'], when: 'rule_type == 1', why: 'a test' };
    expect(() => loadProfile(withRules('start', [adds]))).toThrow(
      line('stage start lets landlock_add_rule through, which could widen the files of stage running'),
    );
  });

  it('needs that no ring was made before, or that it looks for them', () => {
    const rings = { allow: ['io_uring_setup'], risk: 'a test', why: 'a test' };
    const loose = withRules('start', [rings]);
    expect(() => loadProfile(loose)).toThrow(line('stage start lets io_uring_setup through, and a ring goes on'));
    const requires = { 'no-fds': ['io_uring'], why: 'a test' };
    const stages = {
      ...loose.stages,
      running: { ...loose.stages['running'], requires },
      sealed: { ...loose.stages['sealed'], requires },
    };
    expect(() => loadProfile({ ...loose, stages })).not.toThrow();
  });

  it('is the last that lets threads restrict themselves, when no other follows', () => {
    expect(() => loadProfile(withRules('sealed', [{ use: ['next-files'] }]))).toThrow(
      line('stage sealed lets landlock_restrict_self through, and no stage after it leaves fewer files: refuse it'),
    );
  });
});
