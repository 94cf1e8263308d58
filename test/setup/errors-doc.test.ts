// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { errorTable } from '../../core/errors.ts';

test('docs/errors.md lists exactly the codes of core/errors.ts, with their kinds', () => {
  const rows = readFileSync('docs/errors.md', 'utf8').matchAll(/^\| `([A-Z_]+)` \| `([a-z]+)` \| (.+) \| (.+) \|$/gm);
  const documented = [...rows].map(([, code, kind]) => [code, kind]);
  expect(documented).toEqual(Object.entries(errorTable));
});

test('docs/errors.md explains every kind of error', () => {
  const document = readFileSync('docs/errors.md', 'utf8');
  for (const kind of new Set(Object.values(errorTable)))
    expect(document).toMatch(new RegExp(`^\\| \`${kind}\` \\| `, 'm'));
});
