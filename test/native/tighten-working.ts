// SPDX-License-Identifier: Apache-2.0
import { buildProgram } from './build-program.ts';
import { nextTurn, Victim } from './victim.ts';

export type Way = 'together' | 'by thread';

/**
 * Tightens programs/working.c again and again while it works, and gives its own judgement of its results at the end.
 * @param rounds below 6500: the kernel takes 32768 instructions in a chain, and counts four more for each filter.
 */
export async function tightenWorking(
  way: Way,
  rounds: number,
): Promise<{ readonly judgement: string; readonly stopped: readonly number[] }> {
  await using victim = await Victim.start('working', { program: buildProgram('working') });
  const stopped: number[] = [];
  for (let round = 1; round <= rounds; round++) {
    const injected = way === 'together' ? victim.inject() : victim.injectByThread();
    if (!injected.ok) throw new Error(`round ${round}, ${way}: ${JSON.stringify(injected)}`);
    stopped.push(injected.stoppedMicroseconds);
    if (round % 10 === 0) assertEveryThreadHas(victim, round);
    // It gets on with its work.
    await nextTurn();
  }
  assertEveryThreadHas(victim, rounds);
  return { judgement: await victim.end(), stopped };
}

function assertEveryThreadHas(victim: Victim, filters: number): void {
  for (const thread of victim.inspect().threads)
    if (thread.filters !== filters || thread.programs?.length !== filters)
      throw new Error(`after ${filters} tightenings: ${JSON.stringify(thread)}`);
}
