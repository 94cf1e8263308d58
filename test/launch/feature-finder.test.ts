// SPDX-License-Identifier: Apache-2.0
// What would permit a refused call is looked up while the VM runs, in a file that may have changed since the launch.
import { rmSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { featureFinder } from '../../core/launch/feature-finder.ts';
import { hostArch } from '../../core/profile-files.ts';
import { auditArchOf, syscallNumber } from '../../core/tables/index.ts';
import { scratch } from '../brokers/rig.ts';

const call = {
  nr: syscallNumber(hostArch(), 'pipe2') ?? -1,
  auditArch: auditArchOf(hostArch()),
  args: [0n, 0n, 0n, 0n, 0n, 0n],
} as const;

const text = `version: 1
name: example
vmm: qemu
stages:
  start: { syscalls: [{ allow: [read], why: w }] }
features:
  pipes: { why: w, stages: { start: { syscalls: [{ allow: [pipe2], why: w }] } } }
`;

test('the features of the profile are named, and none when it is gone or no profile any more', () => {
  using folder = scratch();
  const path = `${folder.path}/p.yaml`;
  writeFileSync(path, text);
  const [known, gone, spoilt] = [featureFinder(path), featureFinder(path), featureFinder(path)];
  expect(known('start', { call })).toEqual(['pipes']);
  writeFileSync(path, '- no profile');
  expect(spoilt('start', { call })).toEqual([]);
  rmSync(path);
  expect(gone('start', { call })).toEqual([]);
  expect(known('start', { call })).toEqual(['pipes']);
});
