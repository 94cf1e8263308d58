// SPDX-License-Identifier: Apache-2.0
// A decision as alternatives of single comparisons, at most one for each argument: the form that OCI, libseccomp and Firecracker share.

import { always, type Diagram, type Diagrams, never } from '../../verifier/diagram.ts';
import { branchesOn, cubesOf, firstArgument, firstLevelOf, type Interval, intervalsOf } from '../argument-values.ts';

/** `(argument & mask) == value`, or an unmasked comparison. `bits` is how much of the register counts. */
export interface ArgumentTest {
  readonly index: number;
  readonly bits: 32 | 64;
  readonly op: 'eq' | 'ne' | 'le' | 'ge' | 'masked';
  readonly mask: bigint;
  readonly value: bigint;
}

/** Tests that must all hold; no test at all holds always. */
export type Alternative = readonly ArgumentTest[];

export interface TestOptions {
  /** Whether 32 bits can be compared by order, not only under a mask. */
  readonly compares32: boolean;
  /** More alternatives than this for one call are not written. */
  readonly most: number;
}

/** Where a function of the arguments is `value`; undefined when that takes too many alternatives. */
export function alternativesFor(
  diagrams: Diagrams,
  decision: Diagram,
  value: number,
  options: TestOptions,
): readonly Alternative[] | undefined {
  return alternatives(
    diagrams,
    diagrams.map((found) => (found === value ? 1 : 0), decision),
    options,
  );
}

function alternatives(diagrams: Diagrams, decision: Diagram, options: TestOptions): readonly Alternative[] | undefined {
  if (decision === always) return [[]];
  if (decision === never) return [];
  const arg = firstArgument(diagrams, decision);
  if (arg === undefined || arg > 5) return undefined;
  const found: Alternative[] = [];
  for (const { values, rest } of branchesOn(diagrams, decision, arg)) {
    if (rest === never) continue;
    const tests = testsFor(diagrams, values, arg, options);
    const below = tests && alternatives(diagrams, rest, options);
    if (tests === undefined || below === undefined) return undefined;
    if (found.length + tests.length * below.length > options.most) return undefined;
    for (const test of tests) for (const others of below) found.push([...test, ...others]);
  }
  return found;
}

/** A set of values as alternatives of one test each; the empty test where every value is in it. */
function testsFor(
  diagrams: Diagrams,
  values: Diagram,
  index: number,
  { compares32, most }: TestOptions,
): readonly Alternative[] | undefined {
  if (values === always) return [[]];
  const first = firstLevelOf(index);
  const bits = diagrams.level(values) >= first + 32 ? 32 : 64;
  const range = { first: first + 64 - bits, bits, most };
  const ones = (1n << BigInt(bits)) - 1n;
  const ways: (readonly ArgumentTest[])[] = [];
  if (bits === 64 || compares32) {
    const runs = intervalsOf(diagrams, values, range);
    const byOrder = runs && orderTests(runs, { index, bits, mask: ones });
    if (byOrder !== undefined) ways.push(byOrder);
  }
  const cubes = cubesOf(diagrams, values, range);
  if (cubes !== undefined) {
    ways.push(
      cubes.map(({ mask, bits: value }) => ({ index, bits, op: mask === ones ? 'eq' : 'masked', mask, value })),
    );
  }
  return ways.sort((a, b) => a.length - b.length)[0]?.map((test) => [test]);
}

/** One comparison a run; undefined when a run has two ends. */
function orderTests(
  runs: readonly Interval[],
  operand: Pick<ArgumentTest, 'index' | 'bits' | 'mask'>,
): readonly ArgumentTest[] | undefined {
  const [low, high, ...more] = runs;
  const isGap = low?.low === 0n && high?.high === operand.mask && more.length === 0 && high.low - low.high === 2n;
  if (low !== undefined && isGap) return [{ ...operand, op: 'ne', value: low.high + 1n }];
  const tests = runs.map((run): ArgumentTest | undefined => {
    if (run.low === run.high) return { ...operand, op: 'eq', value: run.low };
    if (run.low === 0n) return { ...operand, op: 'le', value: run.high };
    return run.high === operand.mask ? { ...operand, op: 'ge', value: run.low } : undefined;
  });
  return tests.every((test) => test !== undefined) ? tests : undefined;
}
