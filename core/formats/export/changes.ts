// SPDX-License-Identifier: Apache-2.0
// Every pair of answers by which two filters differ, and the calls that it concerns.

import type { Arch } from '../../policy/types.ts';
import { describeAction } from '../../simulator/action.ts';
import { archOffset, auditArch } from '../../simulator/call-data.ts';
import { lastKnownNr, syscallName } from '../../tables/index.ts';
import { constantBits, equal, wordBits } from '../../verifier/bit-vector.ts';
import { Diagrams, never } from '../../verifier/diagram.ts';
import { diagramOf, type FilterLike } from '../../verifier/diff.ts';
import { ofArch, rangesByNumber } from '../../verifier/number-ranges.ts';

export interface Change {
  readonly stage: string;
  readonly exported: string;
  readonly calls: readonly string[];
}

export function changesBetween(stage: FilterLike, exported: FilterLike, arch: Arch): readonly Change[] {
  const diagrams = new Diagrams();
  const pairs = new Map<string, number>();
  const kinds: { readonly before: number; readonly after: number }[] = [];
  // A pair's position, from 1; 0 where both answer alike.
  const pairOf = (before: number, after: number): number => {
    if (before === after) return 0;
    const key = `${before},${after}`;
    const known = pairs.get(key) ?? kinds.push({ before, after });
    pairs.set(key, known);
    return known;
  };
  const both = diagrams.combine(pairOf, diagramOf(diagrams, stage), diagramOf(diagrams, exported));
  const changes = new Map<string, { stage: string; exported: string; calls: Set<string> }>();
  const add = (pair: number, partly: boolean, call: string): void => {
    const kind = kinds[pair - 1];
    if (kind === undefined) return;
    const key = `${pair} ${partly}`;
    const change = changes.get(key) ?? {
      stage: `${describeAction(kind.before)}${partly ? ' for some arguments' : ''}`,
      exported: describeAction(kind.after),
      calls: new Set<string>(),
    };
    changes.set(key, change);
    change.calls.add(call);
  };
  const last = lastKnownNr(arch);
  for (const { from, to, decision } of rangesByNumber(diagrams, ofArch(diagrams, both, arch))) {
    for (const pair of diagrams.values(decision)) {
      const partly = !diagrams.isTerminal(decision);
      for (let nr = from; nr <= Math.min(to, last); nr++)
        add(pair, partly, syscallName(arch, nr) ?? 'numbers that no call has');
      if (to > last) add(pair, partly, 'newer or foreign numbers');
    }
  }
  const native = equal(diagrams, wordBits(diagrams, archOffset), constantBits(BigInt(auditArch[arch]), 32));
  for (const pair of diagrams.values(diagrams.choose(native, never, both))) add(pair, false, 'other architectures');
  return [...changes.values()].map((change) => ({ ...change, calls: [...change.calls].sort() }));
}
