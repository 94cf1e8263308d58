// SPDX-License-Identifier: Apache-2.0
// A sample of `npm run evidence`, and that what it wrote is about the rules there are.
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { summarizeFilter } from '../../core/policy/index.ts';
import { loadProfile } from '../../core/profile-files.ts';
import { packagePath } from '../../native/package-path.ts';
import { abridged, documentedRules, documentPath } from './document.ts';
import { allRules, runWithout, runWithoutFeatures } from './removal.ts';
import { runningStage } from './rules.ts';

const document = readFileSync(packagePath(documentPath), 'utf8');

describe('the base of stage running', () => {
  const { filter, roles } = runningStage(loadProfile('qemu', { arch: 'x86_64' }));

  test('lets at most 45 system calls through, conditional ones counted', () => {
    expect(summarizeFilter(filter).allowed).toBeLessThanOrEqual(45);
  });

  test('lets at most 25 through in a vCPU', () => {
    const vcpu = roles['vcpu'];
    expect(vcpu && summarizeFilter(vcpu).allowed).toBeLessThanOrEqual(25);
  });
});

describe(documentPath, () => {
  test('has exactly the rules of the profile', () => {
    expect(documentedRules(document)).toEqual(allRules().map(({ key }) => abridged(key)));
  });
});

describe('without one rule', () => {
  test.each([
    ['process pwrite64', 'block: raw image (transparent)'],
    ['process connect', 'block: NBD client: unix (transparent)'],
  ])('%s: a row fails', { timeout: 120_000 }, async (key, row) => {
    expect(await runWithout(key, row)).toMatchObject({ outcome: 'failed' });
  });

  test('with all rules the same rows work', { timeout: 120_000 }, async () => {
    expect(await runWithout(undefined, 'block: NBD client: unix (transparent)')).toMatchObject({ outcome: 'works' });
  });

  test('without its feature a row fails', { timeout: 120_000 }, async () => {
    expect(await runWithoutFeatures('block: raw image, aio=native (transparent)')).toMatchObject({
      outcome: 'failed',
      detail: expect.stringContaining('Unable to use native AIO'),
    });
  });
});
