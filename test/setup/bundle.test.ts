// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packagePath } from '../../native/package-path.ts';

const folder = packagePath('dist/core/cli');
const chunks = readdirSync(join(folder, 'chunks')).filter((file) => file.endsWith('.js'));
const importsOf = (file: string): string[] =>
  [...readFileSync(join(folder, file), 'utf8').matchAll(/^import\b[^;]*?['"]([^'"]+)['"]/gm)].map(
    ([, name = '']) => name,
  );

test('the command loads its own chunks and Node alone; what only a running VMM needs is loaded from its package', () => {
  const names = [...importsOf('main.js'), ...chunks.flatMap((file) => importsOf(join('chunks', file)))];
  const others = names.filter((name) => !/^\.\.?\/|^node:/.test(name));
  expect(names.length).toBeGreaterThan(chunks.length);
  expect(new Set(others)).toEqual(new Set(['msgpackr/index-no-eval']));
});

test('the licences of the packages in the bundle stand beside it', () => {
  const text = readFileSync(join(folder, 'chunks', 'LICENSES'), 'utf8');
  for (const name of ['commander', 'ipaddr.js', 'js-yaml', 'zod']) expect(text).toMatch(new RegExp(`^${name}$`, 'm'));
});
