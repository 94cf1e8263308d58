// SPDX-License-Identifier: Apache-2.0
// A program's function, cut as a profile is: by call, the numbers that no table has, newer ones, and other architectures. Where such a part is
// answered in several ways, the strictest is taken and the loss told.

import type { Arch } from '../../policy/types.ts';
import { actionOnly, describeAction } from '../../simulator/action.ts';
import { archOffset, auditArch, x32Bit } from '../../simulator/call-data.ts';
import { lastKnownNr, syscallName } from '../../tables/index.ts';
import { constantBits, equal, wordBits } from '../../verifier/bit-vector.ts';
import { type Diagram, type Diagrams, terminalLevel } from '../../verifier/diagram.ts';
import { atNumber, ofArch, rangesByNumber } from '../../verifier/number-ranges.ts';
import { firstLevelOf } from '../argument-values.ts';

export interface ProgramParts {
  /** SECCOMP_RET_* for calls without a rule, for numbers past the table, and for other ABIs. */
  readonly otherwise: number;
  readonly unknown: number;
  readonly foreign: number;
  decisionFor(nr: number): Diagram;
}

export function programParts(diagrams: Diagrams, whole: Diagram, arch: Arch, losses: string[]): ProgramParts {
  const anywhere = withoutPointer(diagrams, whole, losses);
  const native = ofArch(diagrams, anywhere, arch);
  const last = lastKnownNr(arch);
  const ranges = rangesByNumber(diagrams, native);
  const valuesIn = (low: number, high: number): readonly number[] =>
    ranges
      .filter(({ from, to }) => from <= high && to >= low)
      .flatMap(({ decision }) => [...diagrams.values(decision)]);
  const isX86 = arch === 'x86_64';
  const unknown = isX86
    ? [...valuesIn(last + 1, x32Bit - 1), ...valuesIn(2 * x32Bit, 3 * x32Bit - 1)]
    : valuesIn(last + 1, 4 * x32Bit - 1);
  const x32 = isX86 ? [...valuesIn(x32Bit, 2 * x32Bit - 1), ...valuesIn(3 * x32Bit, 4 * x32Bit - 1)] : [];
  const gaps = Array.from({ length: last + 1 }, (_, nr) => nr).filter((nr) => syscallName(arch, nr) === undefined);
  const one = (values: Iterable<number>, what: string): number => {
    const distinct = new Set(values);
    const taken = strictest(distinct);
    if (distinct.size > 1) {
      const list = [...distinct].map(describeAction).join(', ');
      losses.push(`${what} are answered in several ways (${list}): ${describeAction(taken)} for all of them`);
    }
    return taken;
  };
  return {
    otherwise: one(
      gaps.flatMap((nr) => [...diagrams.values(atNumber(diagrams, native, nr))]),
      'numbers that no call has',
    ),
    unknown: one(unknown, `numbers above ${last}`),
    foreign: one([...x32, ...foreignValues(diagrams, anywhere, arch)], 'calls of other architectures'),
    decisionFor: (nr) => atNumber(diagrams, native, nr),
  };
}

/** The value that the kernel would prefer among filters of one chain: the lowest action, read as a signed number. */
export function strictest(values: Iterable<number>): number {
  return [...values].reduce((worst, value) => ((actionOnly(value) | 0) < (actionOnly(worst) | 0) ? value : worst));
}

/** No value of SECCOMP_RET_* that a program returns: its action part is undefined, and it has data. */
const marker = 0x00ff00ff;

function foreignValues(diagrams: Diagrams, whole: Diagram, arch: Arch): readonly number[] {
  const native = equal(diagrams, wordBits(diagrams, archOffset), constantBits(BigInt(auditArch[arch]), 32));
  const others = diagrams.values(diagrams.choose(native, diagrams.terminal(marker), whole));
  return [...others].filter((value) => value !== marker);
}

/** A profile cannot ask where a call comes from: the strictest answer over all places. */
function withoutPointer(diagrams: Diagrams, whole: Diagram, losses: string[]): Diagram {
  const pointer = firstLevelOf(6);
  const stricter = (a: number, b: number): number => strictest([a, b]);
  const known = new Map<Diagram, Diagram>();
  let asked = false;
  const visit = (at: Diagram): Diagram => {
    const level = diagrams.level(at);
    if (level === terminalLevel) return at;
    const before = known.get(at);
    if (before !== undefined) return before;
    const low = visit(diagrams.low(at, level));
    const high = visit(diagrams.high(at, level));
    asked ||= level >= pointer;
    const result = level >= pointer ? diagrams.combine(stricter, low, high) : diagrams.node(level, low, high);
    known.set(at, result);
    return result;
  };
  const result = visit(whole);
  if (asked) losses.push('the program asks for the instruction pointer: the strictest answer was taken for each call');
  return result;
}
