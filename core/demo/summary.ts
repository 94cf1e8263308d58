// SPDX-License-Identifier: Apache-2.0
import { table } from '../cli/output.ts';
import type { Step } from './steps.ts';
import type { Story } from './story.ts';

/** The table at the end. */
export function describeStory({ stages, status }: Story, steps: readonly Step[]): string {
  const totalMs = steps.reduce((sum, { ms }) => sum + ms, 0);
  return [
    '',
    table([
      ['STAGE', 'SYSCALLS ALLOWED', 'BY ARGUMENT', 'BY BROKER', 'FILTERS PER THREAD'],
      ...stages.map(({ stage, summary, filtersPerThread }) => [
        stage,
        summary.allowed,
        summary.conditional,
        summary.brokered,
        filtersPerThread,
      ]),
    ]),
    '',
    `The last VM's broker: ${status.broker.allowed} allowed, ${status.broker.denied} denied.`,
    '',
    table([['STEP', 'MS'], ...steps.map(({ name, ms }) => [name, ms]), ['in all', totalMs]]),
  ].join('\n');
}
