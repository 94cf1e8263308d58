// SPDX-License-Identifier: Apache-2.0
// Each test that docs/threats.md names is there, with the words that it is named by.
import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { packagePath } from '../../native/package-path.ts';

const text = readFileSync(packagePath('docs/threats.md'), 'utf8');
const named = [...text.matchAll(/`(test\/[^`]+\.test\.ts)`((?:,? "[^"]+")*)/g)].map(([, file = '', titles = '']) => ({
  file,
  titles: [...titles.matchAll(/"([^"]+)"/g)].map(([, title = '']) => title),
}));

test('names tests', () => {
  expect(named.length).toBeGreaterThan(30);
});

test.each(named)('$file has $titles', ({ file, titles }) => {
  expect(existsSync(packagePath(file))).toBe(true);
  const content = readFileSync(packagePath(file), 'utf8');
  for (const title of titles) expect(content).toContain(title);
});
