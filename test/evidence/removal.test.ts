// SPDX-License-Identifier: Apache-2.0
// A sample of `npm run evidence`, and that what it wrote is about the rules there are.
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { summarizeFilter } from '../../core/policy/index.ts';
import { loadProfile } from '../../core/profile-files.ts';
import { packagePath } from '../../native/package-path.ts';
import { abridged, documentedKeys, documentPath } from './document.ts';
import { featureNames, runWithoutFeature } from './features.ts';
import { allRules, featureRuleKey, rulesOfFeature, runWithout } from './removal.ts';
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
  test('has exactly the rules of the profile, its features and their rules', () => {
    const ofFeatures = featureNames.flatMap((feature) =>
      rulesOfFeature(feature).map((rule) => featureRuleKey(feature, rule)),
    );
    expect(documentedKeys(document)).toEqual([allRules().map(abridged), featureNames, ofFeatures.map(abridged)]);
  });

  test('leaves it open of no rule of the base and of no feature what it is for, nor why nothing names it', () => {
    const [open] = document.split('# What each rule of a feature is for');
    expect(open?.split('\n').filter((line) => /open: no row|nothing: open/.test(line))).toEqual([]);
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

  test.each([
    ['aio-native', 'block: raw image, aio=native (transparent)', /Unable to use native AIO/],
    ['pty', 'chardev: pty (transparent)', /Failed to create PTY/],
  ])(
    '%s: without it a row fails, the event and the error name it, and QEMU and its guest go on',
    {
      timeout: 120_000,
    },
    async (feature, row, detail) => {
      expect(await runWithoutFeature(feature, row)).toEqual({
        outcome: 'failed',
        detail: expect.stringMatching(detail),
        inEvent: true,
        inError: true,
        harm: undefined,
      });
    },
  );
});
