// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
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

test('the command is written in what the oldest Node knows, which has no `using`', () => {
  for (const file of ['main.js', ...chunks.map((chunk) => join('chunks', chunk))])
    expect(readFileSync(join(folder, file), 'utf8')).not.toMatch(/^\s*(await )?using \w+ =/m);
});

test('a reader that has seen enough is no failure', () => {
  const piped = spawnSync('sh', ['-c', `"$0" "$1" --help | true`, process.execPath, join(folder, 'main.js')], {
    encoding: 'utf8',
  });
  expect(piped).toMatchObject({ status: 0, stderr: '' });
});

test('the licences of the packages in the bundle stand beside it', () => {
  const text = readFileSync(join(folder, 'chunks', 'LICENSES'), 'utf8');
  for (const name of ['commander', 'ipaddr.js', 'js-yaml', 'zod']) expect(text).toMatch(new RegExp(`^${name}$`, 'm'));
});
