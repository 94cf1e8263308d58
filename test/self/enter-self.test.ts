// SPDX-License-Identifier: Apache-2.0
// enterSelf() on the real kernel, in a process of its own: there is no way back.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { enterSelf } from '../../core/self/enter-self.ts';

const folder = mkdtempSync(join(tmpdir(), 'ratchet-self-'));
const inside = join(folder, 'inside');
beforeAll(() => writeFileSync(inside, 'x'));
afterAll(() => rmSync(folder, { recursive: true }));

const profile = {
  version: 1,
  name: 'self',
  vmm: 'none',
  stages: {
    working: {
      default: 'allow',
      risk: 'a test of what is taken away, not of what is left',
      unknown: 'errno ENOSYS',
      foreign: 'kill-process',
      syscalls: [{ refuse: ['socket'], errno: 'EAFNOSUPPORT', why: 'no network' }],
    },
    later: {
      from: 'working',
      syscalls: [{ refuse: ['mkdir', 'mkdirat'], errno: 'EROFS', why: 'no new directories' }],
    },
  },
};
// Node reads its own files and /proc; the shared libraries were loaded before.
const paths = [folder, '/proc', '/dev', process.cwd()].map((path) => ({ path, uses: ['read', 'write'] }));

interface Said {
  readonly threads: readonly string[];
  readonly [what: string]: unknown;
}

async function run(options: object): Promise<Said> {
  const { stdout } = await promisify(execFile)(process.execPath, [
    'test/self/confined.mjs',
    JSON.stringify({ inside, ...options }),
  ]);
  return JSON.parse(stdout) as Said;
}

test('every thread is under the filter, the Landlock domain and without capabilities: pool, workers before and after', async () => {
  const said = await run({ enter: { profile, paths }, afterwards: ['later', 'working'] });
  const confined = { inside: 'ok', outside: 'EACCES', mkdir: 'EEXIST' };
  const tighter = { ...confined, mkdir: 'EROFS' };
  expect(said).toMatchObject({
    stage: 'working',
    mechanisms: { seccomp: 'enforced', 'no-new-privs': 'enforced', capabilities: 'enforced', landlock: 'enforced' },
    before: confined,
    after: confined,
    pool: { inside: 'ok', outside: 'EACCES' },
    socket: 'EAFNOSUPPORT',
    later: { result: 'later', before: tighter, after: tighter },
    working: { result: 'STAGE_BACKWARDS' },
  });
  expect(said.threads.length).toBeGreaterThan(8);
  expect(new Set(said.threads)).toEqual(new Set(['2 1 1 0000000000000000']));
});

test('a named capability stays, and without paths no domain is entered', async () => {
  const said = await run({ enter: { profile, stage: 'later', capabilities: ['CAP_NET_ADMIN'] } });
  expect(said).toMatchObject({ stage: 'later', mechanisms: { landlock: 'absent' }, pool: { outside: 'ok' } });
  // Root has it; who has none keeps none.
  const left = process.getuid?.() === 0 ? '0000000000001000' : '0000000000000000';
  expect(new Set(said.threads)).toEqual(new Set([`2 2 1 ${left}`]));
});

test('a step that the kernel refuses is told with its errno', async () => {
  const working = {
    ...profile.stages.working,
    syscalls: [{ refuse: ['seccomp'], errno: 'EPERM', why: 'no further stage' }],
  };
  const said = await run({
    enter: { profile: { ...profile, stages: { ...profile.stages, working } } },
    afterwards: ['later'],
  });
  expect(said).toMatchObject({ stage: 'working', later: { result: 'SELF_FAILED' } });
});

const demanding = {
  ...profile,
  stages: { working: { ...profile.stages.working, requires: { 'no-children': true, why: 'nobody else' } } },
};

test.each([
  ['a stage that requires something of its process', { profile: demanding }, 'PROFILE_INVALID'],
  ['a call that is left to a broker', { profile: 'qemu' }, 'PROFILE_INVALID'],
  ['an unknown stage', { profile, stage: 'none' }, 'STAGE_UNKNOWN'],
  ['an unknown capability', { profile, capabilities: ['CAP_FLY'] }, 'ARGUMENT_INVALID'],
])('%s is refused before anything is changed', async (_what, options, code) => {
  await expect(enterSelf(options)).rejects.toThrow(expect.objectContaining({ code }));
});
