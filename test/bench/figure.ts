// SPDX-License-Identifier: Apache-2.0

/** One measured number of a suite, as it stands in bench.json. */
export interface Figure {
  readonly name: string;
  readonly unit: string;
  readonly median: number;
  /** Null where every run gives the same, as instruction counts do. */
  readonly p99: number | null;
  /** Median over the median of what it is held against; null where it stands alone. */
  readonly ratio: number | null;
  readonly against: string | null;
  /** Measurements. */
  readonly n: number;
  /** What is wanted, in words; null where the figure only informs. */
  readonly goal: string | null;
  readonly met: boolean | null;
}

export interface Goal {
  readonly text: string;
  readonly met: boolean;
}

/** A number that is the same on each run. */
export function exact(
  name: string,
  unit: string,
  value: number,
  more: {
    readonly against?: { readonly name: string; readonly value: number };
    readonly goal?: Goal;
    readonly n?: number;
  } = {},
): Figure {
  const { against, goal, n } = more;
  return {
    name,
    unit,
    median: value,
    p99: null,
    ratio: against === undefined ? null : value / against.value,
    against: against?.name ?? null,
    n: n ?? 1,
    goal: goal?.text ?? null,
    met: goal?.met ?? null,
  };
}

/** A time that was measured often, held against another that was measured in turns with it. */
export function measured(
  name: string,
  unit: string,
  samples: readonly number[],
  more: {
    readonly against?: { readonly name: string; readonly samples: readonly number[] };
    readonly goal?: Goal;
  } = {},
): Figure {
  const { against, goal } = more;
  return {
    name,
    unit,
    median: quantile(samples, 0.5),
    p99: quantile(samples, 0.99),
    ratio: against === undefined ? null : quantile(samples, 0.5) / quantile(against.samples, 0.5),
    against: against?.name ?? null,
    n: samples.length,
    goal: goal?.text ?? null,
    met: goal?.met ?? null,
  };
}

export function quantile(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}

export function atMost(limit: number, value: number, unit = ''): Goal {
  return { text: `<= ${limit}${unit === '' ? '' : ` ${unit}`}`, met: value <= limit };
}
