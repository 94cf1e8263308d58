// SPDX-License-Identifier: Apache-2.0

import type { Arch } from '../policy/types.ts';
import { auditArch, callWords } from '../simulator/call-data.ts';
import { decodeProgram } from '../simulator/instruction.ts';
import { runOnWords } from '../simulator/run.ts';
import type { CallCounts } from './weights.ts';

/**
 * Instructions that a program executes for one recorded call, on average over the calls that the kernel's bitmap does not answer. A call's arguments
 * are taken one by one as recorded: the marginal values are known, not which went together.
 */
export function expectedInstructions(
  program: Uint8Array,
  arch: Arch,
  counts: CallCounts,
  uncached: (nr: number) => boolean,
): number {
  const instructions = decodeProgram(program);
  return expectedMeasure(arch, counts, uncached, (words) => runOnWords(instructions, words).instructions);
}

/** Any number that a call has, on the same average. */
export function expectedMeasure(
  arch: Arch,
  counts: CallCounts,
  uncached: (nr: number) => boolean,
  measure: (words: Uint32Array) => number,
): number {
  let executed = 0;
  let calls = 0;
  for (const [nr, count] of counts.calls) {
    if (!uncached(nr)) continue;
    const sampled = argumentSamples(counts, nr);
    const share = count / sampled.reduce((sum, { count: seen }) => sum + seen, 0);
    for (const { args, count: seen } of sampled) {
      executed += measure(callWords({ nr, auditArch: auditArch[arch], args })) * seen * share;
    }
    calls += count;
  }
  return calls === 0 ? 0 : executed / calls;
}

type Arguments = readonly [bigint, bigint, bigint, bigint, bigint, bigint];

/** The argument with the most recorded values varies; the others hold their most frequent one. */
function argumentSamples(counts: CallCounts, nr: number): { args: Arguments; count: number }[] {
  const values = counts.values.get(nr) ?? new Map<number, ReadonlyMap<bigint, number>>();
  const usual = [0, 1, 2, 3, 4, 5].map((arg) => mostFrequent(values.get(arg)));
  let widest: number | undefined;
  for (const [arg, seen] of values)
    if (widest === undefined || seen.size > (values.get(widest)?.size ?? 0)) widest = arg;
  if (widest === undefined) return [{ args: usual as unknown as Arguments, count: 1 }];
  const arg = widest;
  return [...(values.get(arg) ?? [])].map(([value, count]) => ({
    args: usual.with(arg, value) as unknown as Arguments,
    count,
  }));
}

function mostFrequent(values: ReadonlyMap<bigint, number> | undefined): bigint {
  let best = 0n;
  let most = 0;
  for (const [value, count] of values ?? []) {
    if (count > most) {
      most = count;
      best = value;
    }
  }
  return best;
}
