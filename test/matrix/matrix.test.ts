// SPDX-License-Identifier: Apache-2.0
// The short form of the matrix: each row a test. One process runs them all in a network namespace of its own, as `npm run matrix` does.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { beforeAll, describe, expect, test } from 'vitest';
import { packagePath } from '../../native/package-path.ts';
import { areas } from './areas.ts';
import { documentPath, readDocument } from './document.ts';
import { rowName } from './row.ts';
import type { RowResult } from './runner.ts';

const all = areas.flatMap((area) => area.rows.map((row) => ({ name: rowName(area, row), row })));
const short = all.filter(({ row }) => row.longOnly !== true).map(({ name }) => name);
const longestMs = 400_000;

describe('under stage running', () => {
  const results = new Map<string, RowResult>();
  beforeAll(async () => {
    const child = spawn(process.execPath, [packagePath('dist/test/matrix/main.js'), '--short', '--json'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = once(child, 'close');
    for await (const line of createInterface({ input: child.stdout })) {
      const result = JSON.parse(line) as RowResult;
      results.set(result.name, result);
    }
    await ended;
  }, longestMs);

  test.each(short)('%s', (name) => {
    const result = results.get(name);
    expect(result?.outcome, result?.detail ?? 'it was not run').not.toBe('failed');
    expect(result).toBeDefined();
  });
});

describe(documentPath, () => {
  const documented = readDocument(readFileSync(packagePath(documentPath), 'utf8'));

  test('has exactly the rows of the code, in their order', () => {
    expect([...documented.keys()]).toEqual(all.map(({ name }) => name));
  });

  test('says of at least 60 rows that they work', () => {
    expect([...documented.values()].filter((result) => result === 'works').length).toBeGreaterThanOrEqual(60);
  });

  test('says that no row works which has a limit, and the other way round', () => {
    for (const { name, row } of all)
      expect([name, documented.get(name)?.startsWith('no: ')]).toEqual([
        name,
        row.limit !== undefined && row.missing?.() === undefined,
      ]);
  });
});
