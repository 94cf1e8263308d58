// SPDX-License-Identifier: Apache-2.0
// What a filter needs to say when others are installed already. Where an older filter decides whatever the new one returns, the new one is free:
// it may allow, or answer whatever makes it shorter. The architecture test goes the same way.

import type { Arch } from '../policy/types.ts';
import { combineActions, returnValue } from '../simulator/action.ts';
import { archOffset, auditArch } from '../simulator/call-data.ts';
import { constantBits, equal, wordBits } from '../verifier/bit-vector.ts';
import { always, type Diagram, type Diagrams } from '../verifier/diagram.ts';
import { ofArch, rangesByNumber, restrictTo } from '../verifier/number-ranges.ts';
import type { NumberRange } from '../verifier/policy-diagram.ts';
import type { FilterTarget } from './target.ts';

/**
 * The target of a filter with which the chain decides as it would with `wanted` in full. `installed` is what the older filters decide together.
 * Undefined when the older filters do not settle foreign architectures.
 */
export function deltaTarget(
  diagrams: Diagrams,
  arch: Arch,
  wanted: Diagram,
  installed: Diagram,
): FilterTarget | undefined {
  if (!foreignIsSettled(diagrams, arch, installed)) return undefined;
  const ranges = choices(diagrams, ofArch(diagrams, wanted, arch), ofArch(diagrams, installed, arch));
  return { arch, ranges: chosen(diagrams, ranges), foreign: undefined };
}

/** Two filters of a chain, by the kernel's precedence. */
export function chainOf(diagrams: Diagrams, newer: Diagram, older: Diagram): Diagram {
  return diagrams.combine(combineActions, newer, older);
}

/** Whether the older filters kill every foreign call: no filter can be stricter, so it does not matter what the new one says of it. */
function foreignIsSettled(diagrams: Diagrams, arch: Arch, installed: Diagram): boolean {
  const killed = diagrams.map((value) => (value === returnValue.killProcess ? 1 : 0), installed);
  const native = equal(diagrams, wordBits(diagrams, archOffset), constantBits(BigInt(auditArch[arch]), 32));
  return diagrams.or(native, killed) === always;
}

interface Choice {
  readonly from: number;
  readonly to: number;
  /** Values that would all do; empty when the arguments matter. */
  readonly constants: readonly number[];
  readonly decision: Diagram;
}

function choices(diagrams: Diagrams, wanted: Diagram, installed: Diagram): Choice[] {
  const result: Choice[] = [];
  const known = new Map<string, Pick<Choice, 'constants' | 'decision'>>();
  for (const { from, to, first, second } of overlaps(
    rangesByNumber(diagrams, wanted),
    rangesByNumber(diagrams, installed),
  )) {
    const key = `${first},${second}`;
    let choice = known.get(key);
    if (choice === undefined) {
      choice = choose(diagrams, first, second);
      known.set(key, choice);
    }
    result.push({ from, to, ...choice });
  }
  return result;
}

function choose(diagrams: Diagrams, wanted: Diagram, installed: Diagram): Pick<Choice, 'constants' | 'decision'> {
  const goal = chainOf(diagrams, wanted, installed);
  const fits = (decision: Diagram): boolean => chainOf(diagrams, decision, installed) === goal;
  const values = new Set([returnValue.allow, ...diagrams.values(wanted), ...diagrams.values(installed)]);
  const constants = [...values].filter((value) => fits(diagrams.terminal(value)));
  if (constants.length > 0) return { constants, decision: diagrams.terminal(constants[0] as number) };

  // Cells in which allowing would do, because the older filters give the answer.
  const free = diagrams.combine((one, other) => (one === other ? 1 : 0), installed, goal);
  const filled = diagrams.choose(free, diagrams.terminal(returnValue.allow), wanted);
  const shortest = [restrictTo(diagrams, wanted, diagrams.not(free)), filled, wanted]
    .filter(fits)
    .reduce((best, candidate) => (sizeOf(diagrams, candidate) < sizeOf(diagrams, best) ? candidate : best), wanted);
  return { constants: [], decision: shortest };
}

/** Neighbours that can be one are made one; a number of its own stays a number of its own, so that it can be peeled off. */
function chosen(diagrams: Diagrams, choices: readonly Choice[]): NumberRange[] {
  const ranges: NumberRange[] = [];
  choices.forEach((choice, index) => {
    const decision =
      choice.constants.length < 2
        ? choice.decision
        : pick(choice.constants, ranges.at(-1)?.decision, nextFixed(choices, index));
    const last = ranges.at(-1);
    if (last !== undefined && last.decision === decision && diagrams.isTerminal(decision)) {
      ranges[ranges.length - 1] = { ...last, to: choice.to };
    } else ranges.push({ from: choice.from, to: choice.to, decision });
  });
  return ranges;

  function pick(constants: readonly number[], before: Diagram | undefined, after: Diagram | undefined): Diagram {
    const possible = constants.map((value) => diagrams.terminal(value));
    const allow = diagrams.terminal(returnValue.allow);
    const wishes = [
      before === after ? before : undefined,
      before === allow || after === allow ? allow : undefined,
      before,
      after,
      allow,
    ];
    return wishes.find((wish) => wish !== undefined && possible.includes(wish)) ?? (possible[0] as Diagram);
  }
}

function nextFixed(choices: readonly Choice[], index: number): Diagram | undefined {
  return choices.slice(index + 1).find((choice) => choice.constants.length < 2)?.decision;
}

function overlaps(
  first: readonly NumberRange[],
  second: readonly NumberRange[],
): { from: number; to: number; first: Diagram; second: Diagram }[] {
  const result: { from: number; to: number; first: Diagram; second: Diagram }[] = [];
  let i = 0;
  let j = 0;
  for (let from = 0; i < first.length && j < second.length; ) {
    const a = first[i] as NumberRange;
    const b = second[j] as NumberRange;
    const to = Math.min(a.to, b.to);
    result.push({ from, to, first: a.decision, second: b.decision });
    from = to + 1;
    if (a.to === to) i++;
    if (b.to === to) j++;
  }
  return result;
}

function sizeOf(diagrams: Diagrams, diagram: Diagram): number {
  const seen = new Set<Diagram>();
  const visit = (at: Diagram): void => {
    if (seen.has(at) || diagrams.isTerminal(at)) return;
    seen.add(at);
    const level = diagrams.level(at);
    visit(diagrams.low(at, level));
    visit(diagrams.high(at, level));
  };
  visit(diagram);
  return seen.size;
}
