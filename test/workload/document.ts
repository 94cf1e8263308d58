// SPDX-License-Identifier: Apache-2.0
import { release } from 'node:os';
import { findGuestKernel } from '../../core/demo/guest-kernel.ts';
import { packagePath } from '../../native/package-path.ts';
import { qemuVersion } from '../matrix/qemu-version.ts';
import { bytesPerTurn } from './load.ts';
import type { LoadResult } from './run.ts';

export const documentPath = 'docs/qemu-work.md';

/** It has no date and no speed: the versions say when it holds. */
export function renderWork(results: readonly LoadResult[], minutes: number): string {
  const kernel = release().split('.').slice(0, 2).join('.');
  return [
    '# Guests that work hard under stage `running`',
    '',
    'Written by `npm run workload -- --write`; do not edit. Three guests under TCG work at the same time, on all of these backends at once, and one under KVM. A turn',
    `writes ${bytesPerTurn / 2 ** 20} MiB through the backend, reads it back and compares; under KVM a sector on each disk, and a frame. No refusal was in any event log but of what libraries look for and go on without.`,
    '',
    `QEMU ${qemuVersion()}, Linux ${kernel} (guest: ${findGuestKernel(packagePath('.cache')).version}), x86_64, for ${minutes} minutes.`,
    '',
    '| Backend | Features | Turns | MiB | Result |',
    '|---|---|---|---|---|',
    ...results.map(
      ({ name, features, outcome, detail, turns, mebibytes }) =>
        `| ${name} | ${features.map((feature) => `\`${feature}\``).join(', ')} | ${turns} | ${mebibytes} | ${outcome === 'works' ? 'works' : `not run here: ${detail}`} |`,
    ),
    '',
  ].join('\n');
}
