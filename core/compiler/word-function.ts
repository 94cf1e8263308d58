// SPDX-License-Identifier: Apache-2.0
// One 32-bit word of an argument as a function from its value to what follows: its intervals, the bits it depends on, and
// the bits that decide alone.

import { type Diagram, type Diagrams, terminalLevel } from '../verifier/diagram.ts';

/** A diagram that begins with bits of one word, and what is already known of them. */
export interface WordFunction {
  readonly diagram: Diagram;
  /** Level of the word's most significant bit. */
  readonly firstLevel: number;
  /** Bits whose value is known here, and those values. */
  readonly knownMask: number;
  readonly knownValue: number;
}

export interface WordInterval {
  readonly from: number;
  readonly to: number;
  readonly target: Diagram;
}

/** Whether the word still matters. */
export function isDecided(diagrams: Diagrams, { diagram, firstLevel }: WordFunction): boolean {
  return diagrams.level(diagram) >= firstLevel + 32;
}

/** The bits that the function depends on, as a mask. */
export function supportOf(diagrams: Diagrams, { diagram, firstLevel }: WordFunction): number {
  const seen = new Set<Diagram>();
  let mask = 0;
  const visit = (at: Diagram): void => {
    const level = diagrams.level(at);
    if (level >= firstLevel + 32 || seen.has(at)) return;
    seen.add(at);
    mask |= bitOfLevel(level, firstLevel);
    visit(diagrams.low(at, level));
    visit(diagrams.high(at, level));
  };
  visit(diagram);
  return mask >>> 0;
}

/** How many nodes of the word the function has: its size as a set of bit tests. */
export function nodesOf(diagrams: Diagrams, { diagram, firstLevel }: WordFunction): number {
  const seen = new Set<Diagram>();
  const visit = (at: Diagram): void => {
    const level = diagrams.level(at);
    if (level >= firstLevel + 32 || seen.has(at)) return;
    seen.add(at);
    visit(diagrams.low(at, level));
    visit(diagrams.high(at, level));
  };
  visit(diagram);
  return seen.size;
}

/**
 * Runs of values with one target, over the values that have only bits of `domain` (a superset of the support) and otherwise zeros.
 * `from` and `to` are such values; what lies between two neighbours does not occur. Undefined when there are more than `most`.
 */
export function intervalsOf(
  diagrams: Diagrams,
  { diagram, firstLevel }: WordFunction,
  domain: number,
  most: number,
): WordInterval[] | undefined {
  const intervals: WordInterval[] = [];
  const visit = (at: Diagram, level: number, base: number): boolean => {
    const end = firstLevel + 32;
    const nodeLevel = Math.min(diagrams.level(at), end);
    if (nodeLevel === end) {
      const rest = (domain & lowerBits(level, firstLevel)) >>> 0;
      return append(base, (base | rest) >>> 0, at);
    }
    let here = level;
    while (here < nodeLevel && (domain & bitOfLevel(here, firstLevel)) === 0) here++;
    const bit = bitOfLevel(here, firstLevel);
    return (
      visit(diagrams.low(at, here), here + 1, base) && visit(diagrams.high(at, here), here + 1, (base | bit) >>> 0)
    );
  };
  const append = (from: number, to: number, target: Diagram): boolean => {
    const last = intervals.at(-1);
    if (last !== undefined && last.target === target) intervals[intervals.length - 1] = { ...last, to };
    else intervals.push({ from, to, target });
    return intervals.length <= most;
  };
  return visit(diagram, firstLevel, 0) ? intervals : undefined;
}

/** The function where the bits of `mask` have the given values. */
export function fixBits(diagrams: Diagrams, given: WordFunction, mask: number, value: number): WordFunction {
  const { firstLevel } = given;
  const done = new Map<Diagram, Diagram>();
  const visit = (at: Diagram): Diagram => {
    const level = diagrams.level(at);
    if (level >= firstLevel + 32) return at;
    const known = done.get(at);
    if (known !== undefined) return known;
    const bit = bitOfLevel(level, firstLevel);
    let result: Diagram;
    if ((mask & bit) !== 0) result = visit((value & bit) !== 0 ? diagrams.high(at, level) : diagrams.low(at, level));
    else result = diagrams.node(level, visit(diagrams.low(at, level)), visit(diagrams.high(at, level)));
    done.set(at, result);
    return result;
  };
  return {
    diagram: visit(given.diagram),
    firstLevel,
    knownMask: (given.knownMask | mask) >>> 0,
    knownValue: ((given.knownValue & ~mask) | (value & mask)) >>> 0,
  };
}

/** For each target that single bits lead to whatever the others are: the mask of those bits. */
export function decidingBits(
  diagrams: Diagrams,
  given: WordFunction,
  support: number,
  value: 0 | 1,
): Map<Diagram, number> {
  const masks = new Map<Diagram, number>();
  for (let shift = 31; shift >= 0; shift--) {
    const bit = (1 << shift) >>> 0;
    if ((support & bit) === 0) continue;
    const target = onlyTarget(diagrams, given, bit, value);
    if (target !== undefined) masks.set(target, ((masks.get(target) ?? 0) | bit) >>> 0);
  }
  return masks;
}

/** Where the function leads whenever one bit has this value; undefined when that depends on other bits. */
function onlyTarget(
  diagrams: Diagrams,
  { diagram, firstLevel }: WordFunction,
  bit: number,
  value: 0 | 1,
): Diagram | undefined {
  const level = firstLevel + Math.clz32(bit);
  const seen = new Set<Diagram>();
  let target: Diagram | undefined;
  const visit = (at: Diagram): boolean => {
    if (seen.has(at)) return true;
    seen.add(at);
    const here = diagrams.level(at);
    if (here >= firstLevel + 32) {
      target ??= at;
      return target === at;
    }
    if (here === level) return visit(value === 1 ? diagrams.high(at, here) : diagrams.low(at, here));
    return visit(diagrams.low(at, here)) && visit(diagrams.high(at, here));
  };
  return visit(diagram) ? target : undefined;
}

function bitOfLevel(level: number, firstLevel: number): number {
  return level === terminalLevel ? 0 : (1 << (31 - (level - firstLevel))) >>> 0;
}

/** The bits at `level` and below it. */
function lowerBits(level: number, firstLevel: number): number {
  const bits = 32 - (level - firstLevel);
  return bits >= 32 ? 0xffffffff : 2 ** bits - 1;
}
