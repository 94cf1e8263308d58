// SPDX-License-Identifier: Apache-2.0
// A second bound from below, for many values. A state of the search is a run of the values in order, of which some are gone because an equality test
// took them out. Here only how many are gone is known: `heavy` of those that are asked for, `light` of the others. Whatever is cheapest is taken to be
// true of them: that they were the heaviest, and that they were those that kept the rest from being one place. So every real tree costs at least as much.

import type { Sought } from './least-tests.ts';

/** Most that are counted. What comes after more than these is taken to cost nothing. */
const most = { heavy: 8, light: 3 } as const;
const states = (most.heavy + 1) * (most.light + 1);

/** Of the values between two that are asked for, so many next to each are kept. Leaving values out makes trees cheaper. */
const keptBeside = 2;

/** Some values in order. */
interface Node {
  readonly weight: number;
  readonly targets: ReadonlySet<number>;
  /** Values that it stands for: each needs an equality test of its own. */
  readonly values: number;
}

/** The least expected number of tests (times weight) that find what each value leads to. `all` is every value there is, in order. */
export function leastByCountedPeels(all: readonly Sought[]): number {
  const nodes = withoutFar(joined(all));
  if (nodes.length === 0) return 0;
  return new RunTable(nodes).least();
}

/** Neighbours that nobody asks for and that lead to the same place are one node: a cut between them is no better than one beside them. */
function joined(all: readonly Sought[]): Node[] {
  const nodes: Node[] = [];
  for (const { weight, targets } of all) {
    const last = nodes.at(-1);
    if (last !== undefined && weight === 0 && last.weight === 0 && isSame(targets, last.targets))
      nodes[nodes.length - 1] = { ...last, values: last.values + 1 };
    else nodes.push({ weight, targets, values: 1 });
  }
  return nodes;
}

function isSame(one: ReadonlySet<number>, other: ReadonlySet<number>): boolean {
  return one.size === other.size && [...one].every((target) => other.has(target));
}

function withoutFar(nodes: readonly Node[]): Node[] {
  return nodes.filter((_, index) =>
    nodes.slice(Math.max(0, index - keptBeside), index + keptBeside + 1).some(({ weight }) => weight > 0),
  );
}

class RunTable {
  private readonly nodes: readonly Node[];
  /** By first and last node, heavy ones gone, light ones gone. */
  private readonly cost: Float64Array;
  /** Heavy nodes before each. */
  private readonly heavyBefore: Int32Array;

  constructor(nodes: readonly Node[]) {
    this.nodes = nodes;
    this.cost = new Float64Array(nodes.length ** 2 * states);
    this.heavyBefore = new Int32Array(nodes.length + 1);
    nodes.forEach(({ weight }, index) => {
      this.heavyBefore[index + 1] = (this.heavyBefore[index] as number) + (weight > 0 ? 1 : 0);
    });
  }

  least(): number {
    const { length } = this.nodes;
    for (let count = 1; count <= length; count++)
      for (let first = 0; first + count <= length; first++) this.solve(first, first + count - 1);
    return this.cost[this.at(0, length - 1, 0, 0)] as number;
  }

  private at(first: number, last: number, heavy: number, light: number): number {
    return (first * this.nodes.length + last) * states + heavy * (most.light + 1) + light;
  }

  /** From all gone to none, because a state with one more gone is used by the one before. */
  private solve(first: number, last: number): void {
    const run = this.nodes.slice(first, last + 1);
    const weights = run.map(({ weight }) => weight).filter((weight) => weight > 0);
    weights.sort((a, b) => b - a);
    const lightNeeded = lightNeededFor(run);
    for (let heavy = Math.min(most.heavy, weights.length); heavy >= 0; heavy--) {
      const weight = weights.slice(heavy).reduce((sum, one) => sum + one, 0);
      for (let light = most.light; light >= 0; light--) {
        const isDone = weight === 0 || light >= (lightNeeded[heavy] as number);
        this.cost[this.at(first, last, heavy, light)] = isDone ? 0 : weight + this.next(first, last, heavy, light);
      }
    }
  }

  /** What comes after the cheapest test of a run that is not one place yet. */
  private next(first: number, last: number, heavy: number, light: number): number {
    const { cost, heavyBefore } = this;
    if (heavy === most.heavy || light === most.light) return 0;
    let best = cost[this.at(first, last, heavy, light + 1)] as number;
    best = Math.min(best, cost[this.at(first, last, heavy + 1, light)] as number);
    for (let middle = first + 1; middle <= last && best > 0; middle++) {
      const below = (heavyBefore[middle] as number) - (heavyBefore[first] as number);
      const above = (heavyBefore[last + 1] as number) - (heavyBefore[middle] as number);
      for (let heavyBelow = Math.max(0, heavy - above); heavyBelow <= Math.min(heavy, below); heavyBelow++) {
        const lower = this.at(first, middle - 1, heavyBelow, 0);
        const upper = this.at(middle, last, heavy - heavyBelow, 0);
        for (let lightBelow = 0; lightBelow <= light; lightBelow++)
          best = Math.min(best, (cost[lower + lightBelow] as number) + (cost[upper + light - lightBelow] as number));
      }
    }
    return best;
  }
}

/** By the number of heavy nodes gone: how many light values at least must be gone too, so that the rest of a run may be one place. */
function lightNeededFor(run: readonly Node[]): readonly number[] {
  const needed = new Array<number>(most.heavy + 1).fill(Number.POSITIVE_INFINITY);
  for (const target of new Set(run.flatMap(({ targets }) => [...targets]))) {
    const odd = run.filter(({ targets }) => !targets.has(target));
    const heavy = odd.filter(({ weight }) => weight > 0).length;
    const light = odd.filter(({ weight }) => weight === 0).reduce((sum, { values }) => sum + values, 0);
    for (let gone = heavy; gone <= most.heavy; gone++) needed[gone] = Math.min(needed[gone] as number, light);
  }
  return needed;
}
