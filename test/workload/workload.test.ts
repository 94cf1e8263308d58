// SPDX-License-Identifier: Apache-2.0
// The short form of `npm run workload`: one turn on three backends at once.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import { packagePath } from '../../native/package-path.ts';
import type { WorkReport } from './run.ts';

describe('guests that work under stage running', () => {
  test('lose no byte and are refused nothing', { timeout: 400_000 }, async () => {
    const options = ['--minutes', '0', '--json', '--only', 'aio=native|vhost-user-blk|stream, unix'];
    const child = spawn(process.execPath, [packagePath('dist/test/workload/main.js'), ...options], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [said] = await Promise.all([text(child.stdout), once(child, 'close')]);
    const { results, refusals } = JSON.parse(said) as WorkReport;
    expect(refusals).toEqual([]);
    expect(results.map(({ outcome, detail }) => [outcome, detail])).toEqual(Array(4).fill(['works', '']));
    expect(results.every(({ turns }) => turns > 0)).toBe(true);
  });
});
