// SPDX-License-Identifier: Apache-2.0
import { defineConfig } from 'vitest/config';

/** Computation only, or single commands that start no VMM: these may run side by side. */
const pure = [
  'test/{address,policy,compiler,verifier,simulator,formats,tables,learn,audit}/**/*.test.ts',
  'test/cli/{check,compile,diff,explain,export,import,learn}.test.ts',
];

const common = {
  pool: 'forks',
  testTimeout: 60_000,
  hookTimeout: 120_000,
  setupFiles: 'test/fixed-seed.ts',
} as const;

export default defineConfig({
  test: {
    projects: [
      { test: { ...common, name: 'pure', include: pure, maxWorkers: 2, sequence: { groupOrder: 0 } } },
      {
        test: {
          ...common,
          name: 'whole',
          include: ['test/**/*.test.ts'],
          exclude: pure,
          // Files run one after another: many of them start real virtual machines, and two cores are the usual size of a test machine.
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
