// SPDX-License-Identifier: Apache-2.0
// Suite `tighten-soak`: ten thousand tightenings of a program that works, and two hundred stage changes of QEMU under load. Takes some ten minutes.

import { tightenWorking, type Way } from '../native/tighten-working.ts';
import { exact, type Figure, measured } from './figure.ts';
import { soakQemu } from './soak-qemu.ts';

const allTightenings = 10_000;
/** A chain of filters has an end: see tightenWorking(). */
const mostPerProcess = 1250;

/** The `part`th part of it. */
export async function benchTightenSoak(part: number): Promise<readonly Figure[]> {
  // Each way is taken at least once.
  const perProcess = Math.min(mostPerProcess, Math.ceil(allTightenings / part / 2));
  const tightenings = Math.max(2 * perProcess, Math.floor(allTightenings / part));
  const ways: readonly Way[] = ['together', 'by thread'];
  const stopped = { together: [] as number[], 'by thread': [] as number[] };
  let wrong = 0;
  for (let done = 0; done < tightenings; done += perProcess) {
    const way = ways[(done / perProcess) % ways.length] as Way;
    const run = await tightenWorking(way, perProcess);
    stopped[way].push(...run.stopped);
    if (run.judgement !== 'ok') wrong++;
  }
  return [
    exact('tightenings of a working program, none failed', '', stopped.together.length + stopped['by thread'].length),
    exact('programs whose results were wrong', '', wrong, { goal: { text: '0', met: wrong === 0 } }),
    measured('one thread stands still, the filter for all', 'us', stopped.together),
    measured('thread by thread, the longest that one stands still', 'us', stopped['by thread']),
    ...(await soakQemu(part)),
  ];
}
