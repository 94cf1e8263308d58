// SPDX-License-Identifier: Apache-2.0
// Profiles that cannot confine a named program are refused at launch.
import { readFileSync, writeFileSync } from 'node:fs';
import { load as parse } from 'js-yaml';
import { expect, test } from 'vitest';
import { assertConfinesProgram } from '../../core/policy/program-profile.ts';
import type { FilterPolicy, ResolvedProfile } from '../../core/policy/types.ts';
import { loadProfile } from '../../core/profile-files.ts';
import { preparePrograms } from '../../core/programs/prepare.ts';
import { packagePath } from '../../native/package-path.ts';
import { profileOf } from '../brokers/policy.ts';
import { scratch } from '../brokers/rig.ts';

const file = packagePath('profiles/named-program.yaml');
const shipped = loadProfile(file, { arch: 'x86_64' });

function changed(change: Partial<FilterPolicy>): ResolvedProfile {
  const [stage] = shipped.stages;
  if (stage === undefined) throw new Error('no stage');
  return { ...shipped, stages: [{ ...stage, filter: { ...stage.filter, ...change } }] };
}

const allow = { kind: 'allow' } as const;
const prctl = { nr: 157, name: 'prctl', rules: [] };

test.each([
  ['what it does not list', { otherwise: allow }],
  ['calls that are newer than its table', { unknown: allow }],
  ['calls of foreign ABIs', { foreign: allow }],
  ['a prctl that lets it outlive the launcher', { syscalls: [{ ...prctl, otherwise: allow }] }],
] as const)('one that lets through %s', (_, change) => {
  expect(() => assertConfinesProgram(shipped)).not.toThrow();
  expect(() => assertConfinesProgram(changed(change))).toThrow(expect.objectContaining({ code: 'PROFILE_INVALID' }));
});

test('one with a control group, which nobody would make', () => {
  using folder = scratch();
  const profile = parse(readFileSync(file, 'utf8')) as { layers: object };
  profile.layers = { ...profile.layers, cgroup: { pids: 4 } };
  writeFileSync(`${folder.path}/p.yaml`, JSON.stringify(profile));
  const source = { file: 'test.yaml', line: 1, column: 1 };
  const named = { path: '/bin/cat', args: [], stdio: 'socket', seconds: 1, atOnce: 1, why: 'w', source } as const;
  const vm = {
    ...profileOf({ start: { rules: ['exec cat'] } }),
    programs: [{ ...named, name: 'cat', profile: `${folder.path}/p.yaml` }],
  };
  expect(() => preparePrograms(vm)).toThrow(/control group/);
});
