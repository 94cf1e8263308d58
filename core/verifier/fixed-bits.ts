// SPDX-License-Identifier: Apache-2.0
import type { Diagram, Diagrams } from './diagram.ts';

/** A function with some of its variables, by level, put to values. */
export function withBits(diagrams: Diagrams, diagram: Diagram, bits: ReadonlyMap<number, boolean>): Diagram {
  const done = new Map<Diagram, Diagram>();
  const visit = (at: Diagram): Diagram => {
    if (diagrams.isTerminal(at)) return at;
    const before = done.get(at);
    if (before !== undefined) return before;
    const level = diagrams.level(at);
    const bit = bits.get(level);
    const low = bit === true ? undefined : visit(diagrams.low(at, level));
    const high = bit === false ? undefined : visit(diagrams.high(at, level));
    const result = low !== undefined && high !== undefined ? diagrams.node(level, low, high) : (low ?? high ?? at);
    done.set(at, result);
    return result;
  };
  return visit(diagram);
}
