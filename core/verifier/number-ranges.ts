// SPDX-License-Identifier: Apache-2.0

import type { Arch } from '../policy/types.ts';
import { archOffset, auditArch, numberOffset } from '../simulator/call-data.ts';
import { type Diagram, type Diagrams, never, terminalLevel } from './diagram.ts';
import type { NumberRange } from './policy-diagram.ts';
import { firstLevel } from './words.ts';

/** The part of a function that concerns calls of one architecture. */
export function ofArch(diagrams: Diagrams, diagram: Diagram, arch: Arch): Diagram {
  const first = firstLevel(archOffset);
  let at = diagram;
  for (let level = diagrams.level(at); level < first + 32; level = diagrams.level(at)) {
    const bit = (auditArch[arch] >>> (31 - (level - first))) & 1;
    at = bit === 1 ? diagrams.high(at, level) : diagrams.low(at, level);
  }
  return at;
}

/** Runs of numbers that a function of number and arguments treats alike. They cover all 2^32, in order. */
export function rangesByNumber(diagrams: Diagrams, native: Diagram): NumberRange[] {
  const first = firstLevel(numberOffset);
  const ranges: NumberRange[] = [];
  const visit = (at: Diagram, base: number, size: number): void => {
    const level = diagrams.level(at);
    if (level >= first + 32) {
      const last = ranges.at(-1);
      if (last !== undefined && last.decision === at) ranges[ranges.length - 1] = { ...last, to: base + size - 1 };
      else ranges.push({ from: base, to: base + size - 1, decision: at });
      return;
    }
    const bit = first + 32 - Math.log2(size);
    visit(diagrams.low(at, bit), base, size / 2);
    visit(diagrams.high(at, bit), base + size / 2, size / 2);
  };
  visit(native, 0, 2 ** 32);
  return ranges;
}

/** What a function says of one number. */
export function atNumber(diagrams: Diagrams, native: Diagram, nr: number): Diagram {
  const first = firstLevel(numberOffset);
  let at = native;
  for (let level = diagrams.level(at); level < first + 32; level = diagrams.level(at)) {
    at = (nr >>> (31 - (level - first))) & 1 ? diagrams.high(at, level) : diagrams.low(at, level);
  }
  return at;
}

/** The function where `care` holds; elsewhere anything that makes it smaller (Coudert and Madre's restrict). */
export function restrictTo(diagrams: Diagrams, diagram: Diagram, care: Diagram): Diagram {
  const done = new Map<string, Diagram>();
  const visit = (f: Diagram, c: Diagram): Diagram => {
    if (diagrams.isTerminal(f) || diagrams.isTerminal(c)) return f;
    const key = `${f},${c}`;
    const known = done.get(key);
    if (known !== undefined) return known;
    const level = Math.min(diagrams.level(f), diagrams.level(c), terminalLevel);
    const careLow = diagrams.low(c, level);
    const careHigh = diagrams.high(c, level);
    let result: Diagram;
    if (careLow === never) result = visit(diagrams.high(f, level), careHigh);
    else if (careHigh === never) result = visit(diagrams.low(f, level), careLow);
    else if (diagrams.level(f) > level) result = visit(f, diagrams.or(careLow, careHigh));
    else
      result = diagrams.node(level, visit(diagrams.low(f, level), careLow), visit(diagrams.high(f, level), careHigh));
    done.set(key, result);
    return result;
  };
  return care === never ? diagram : visit(diagram, care);
}
