// SPDX-License-Identifier: Apache-2.0
// Profiles for programs/reader.c, which may open what its layers leave it in every stage.

/** What it does in every stage; nothing here is brokered. */
const always = [
  { use: ['threads', 'signals', 'clocks', 'memory', 'random', 'idle-calls', 'libc-probes'] },
  { allow: ['mmap', 'mprotect'], why: 'stacks of threads' },
  { allow: ['read', 'write', 'pread64', 'openat', 'close', 'fcntl', 'dup', 'dup2', 'pipe', 'pipe2'], why: 'its work' },
  { allow: ['fstat', 'newfstatat'], why: 'its output' },
];

interface StageWords {
  readonly layers?: object;
  /** What is allowed for the next stage. */
  readonly next?: readonly string[];
  /** Rules in addition, or in place. */
  readonly rules?: readonly object[];
  readonly keys?: object;
}

export interface RawStage extends Readonly<Record<string, unknown>> {
  readonly layers?: object;
  readonly syscalls: readonly object[];
}
export interface RawProfile extends Readonly<Record<string, unknown>> {
  readonly layers: object;
  readonly stages: Readonly<Record<string, RawStage>>;
}

/** Without namespaces, so that the files are those of everybody. */
export function readerProfile(
  files: { readonly read: readonly string[]; readonly write?: readonly string[] },
  { start = {}, ...later }: Readonly<Record<string, StageWords>>,
): RawProfile {
  const stage = ({ layers, next = [], rules = [], keys = {} }: StageWords, first: readonly string[]): RawStage => ({
    why: 'a test',
    default: 'errno EPERM quiet',
    ...(layers === undefined ? {} : { layers: { why: 'a test', ...layers } }),
    syscalls: [...[...first, ...next].map((group) => ({ use: [group] })), ...always, ...rules],
    ...keys,
  });
  return {
    version: 1,
    name: 'reader',
    vmm: 'program',
    include: ['groups/start', 'groups/process'],
    layers: {
      why: 'a test',
      environment: [],
      namespaces: [],
      files: { ...files, read: ['/usr', '/lib', '/lib64', '/etc/ld.so.cache', ...files.read] },
      cgroup: {},
      rlimits: { nofile: 64 },
    },
    stages: {
      start: stage(start, ['one-exec', 'dynamic-linking']),
      ...Object.fromEntries(Object.entries(later).map(([name, words]) => [name, stage(words, [])])),
    },
  };
}
