// SPDX-License-Identifier: Apache-2.0
// Two-way-comparison trees: which comparisons find the interval that a 32-bit value lies in, at the least expected cost.
//
// A test is `value >= constant`, which splits a run of intervals, or `value == constant`, which peels one value off it. There is an optimal
// tree in which only the heaviest value left in a run is peeled [Anderson, Kannan, Karloff, Ladner, Thresholds and optimal binary
// comparison search trees, 2002], so a subproblem is a run and how many of its heaviest values are gone: dynamic programming over (first,
// last, peeled). A run whose remaining intervals have one target needs no test at all.
// Long inputs are cut into groups first: heavy intervals stay on their own, light neighbours go together and are solved inside the group.

/** Values from `from` to `to`, inclusive, that lead to one place. */
export interface SearchItem {
  readonly from: number;
  readonly to: number;
  readonly target: number;
  /** How often a value of the interval is asked for, in any unit. */
  readonly weight: number;
}

export type SearchTree =
  | { readonly kind: 'leaf'; readonly target: number }
  | {
      readonly kind: 'split';
      readonly at: number;
      readonly below: SearchTree;
      readonly above: SearchTree;
      readonly belowWeight: number;
      readonly aboveWeight: number;
    }
  | {
      readonly kind: 'peel';
      readonly value: number;
      readonly target: number;
      readonly rest: SearchTree;
      readonly hitWeight: number;
      readonly restWeight: number;
    };

export interface SearchOptions {
  /** Longest run solved exactly. Longer ones are grouped. */
  readonly exactItems: number;
  /** Most values peeled off one run, one below the other. */
  readonly maxPeeled: number;
  /** When set: runs of up to this many values against one background become a chain of equality tests, one instruction a value. */
  readonly bucketValues: number | undefined;
}

export interface SearchResult {
  readonly tree: SearchTree;
  /** Expected cost in instructions times weight, leaves not counted. */
  readonly cost: number;
}

/** What a jump that is taken costs over one that is not, in instructions. Measured 0.14 ns against 0.6. */
const takenCost = 0.1;

/** Price of one instruction of size, so that of two equally fast trees the smaller is taken. Relative to the total weight. */
const sizePrice = 1e-5;

/** Share of all lookups from which on a single value is worth a test of its own, though its neighbours lead to the same place. */
export const heavyShare = 0.05;

/** The tree for items that cover a range without holes, in order. Adjacent light items with one target count as one. */
export function searchTree(given: readonly SearchItem[], options: SearchOptions): SearchResult {
  const total = given.reduce((sum, item) => sum + item.weight, 0) || 1;
  const items = mergeEqual(given, options.bucketValues === undefined ? total * heavyShare : Number.POSITIVE_INFINITY);
  const price = total * sizePrice;
  if (options.bucketValues !== undefined) return bucketTree(items, 0, items.length - 1, options.bucketValues, price);
  return solve(items, options, price);
}

function mergeEqual(items: readonly SearchItem[], heavy: number): SearchItem[] {
  const merged: SearchItem[] = [];
  const isLight = (item: SearchItem): boolean => item.from !== item.to || item.weight < heavy;
  for (const item of items) {
    const last = merged.at(-1);
    if (last !== undefined && last.target === item.target && isLight(last) && isLight(item)) {
      merged[merged.length - 1] = { ...last, to: item.to, weight: last.weight + item.weight };
    } else merged.push(item);
  }
  return merged;
}

/** Exactly where the run is short enough, in groups otherwise. */
function solve(items: readonly SearchItem[], options: SearchOptions, price: number): SearchResult {
  if (items.length <= options.exactItems) return optimalTree(items.map(single), options.maxPeeled, price);
  return optimalTree(grouped(items, options, price), options.maxPeeled, price);
}

/** A run of items that the outer tree treats as one. */
interface Group {
  readonly from: number;
  readonly weight: number;
  /** Equal keys: leaves that need no test between them. */
  readonly key: number;
  readonly peelable: boolean;
  readonly result: SearchResult;
}

function single(item: SearchItem): Group {
  return {
    from: item.from,
    weight: item.weight,
    key: item.target,
    peelable: item.from === item.to,
    result: { tree: { kind: 'leaf', target: item.target }, cost: 0 },
  };
}

function grouped(items: readonly SearchItem[], options: SearchOptions, price: number): Group[] {
  const limit = options.exactItems;
  const heaviest = items.map((item) => item.weight).sort((a, b) => b - a);
  // At most a third of the places go to heavy items, and each of them can cut a run of light ones in two.
  const threshold = Math.max(
    heaviest[Math.floor(limit / 4)] as number,
    (heaviest.reduce((a, b) => a + b, 0) / limit) * 0.25,
  );
  const isHeavy = (item: SearchItem): boolean => item.weight > threshold;
  const heavyCount = items.filter(isHeavy).length;
  const perGroup = Math.max(2, Math.ceil((items.length - heavyCount) / Math.max(8, limit - 2 * heavyCount)));
  const groups: Group[] = [];
  let run: SearchItem[] = [];
  let groupKey = -1;
  const flush = (): void => {
    const pieces = Math.ceil(run.length / perGroup);
    for (let piece = 0; piece < pieces; piece++) {
      const part = run.slice(
        Math.floor((piece * run.length) / pieces),
        Math.floor(((piece + 1) * run.length) / pieces),
      );
      const first = part[0] as SearchItem;
      if (part.length === 1) groups.push(single(first));
      else {
        const weight = part.reduce((sum, item) => sum + item.weight, 0);
        groups.push({
          from: first.from,
          weight,
          key: groupKey--,
          peelable: false,
          result: solve(part, options, price),
        });
      }
    }
    run = [];
  };
  for (const item of items) {
    if (isHeavy(item)) {
      flush();
      groups.push(single(item));
    } else run.push(item);
  }
  flush();
  return groups;
}

/** The dynamic programme. Costs are exact for the groups given. */
function optimalTree(groups: readonly Group[], maxPeeled: number, price: number): SearchResult {
  const n = groups.length;
  const depth = Math.min(maxPeeled, groups.filter((group) => group.peelable).length);
  const layers = depth + 1;
  const cost = new Float64Array(n * n * layers);
  /** -2: leaf, -1: peel the next, otherwise the first group of the upper part. */
  const choice = new Int32Array(n * n * layers);
  const prefix = new Float64Array(n + 1);
  const weights = Float64Array.from(groups, (group) => group.weight);
  const keys = Int32Array.from(groups, (group) => group.key);
  const gone = new Uint8Array(n);
  groups.forEach((group, index) => {
    prefix[index + 1] = (prefix[index] as number) + group.weight;
  });
  const at = (first: number, last: number, peeled: number): number => (first * n + last) * layers + peeled;
  const heaviest = heaviestByRun(groups, depth);

  for (let length = 1; length <= n; length++) {
    for (let first = 0; first + length <= n; first++) {
      const last = first + length - 1;
      const top = heaviest(first, last);
      let removedWeight = 0;
      for (const index of top) {
        gone[index] = 1;
        removedWeight += weights[index] as number;
      }
      // From all peeled to none, because a state with one more peeled is used by the one before.
      for (let peeled = top.length; peeled >= 0; peeled--) {
        if (peeled < top.length) {
          const index = top[peeled] as number;
          gone[index] = 0;
          removedWeight -= weights[index] as number;
        }
        const weight = (prefix[last + 1] as number) - (prefix[first] as number) - removedWeight;
        solveState(first, last, peeled, top, Math.max(0, weight));
      }
    }
  }
  const tree = rebuild(0, n - 1, 0);
  return { tree, cost: cost[at(0, n - 1, 0)] as number };

  function solveState(first: number, last: number, peeled: number, top: readonly number[], weight: number): void {
    const slot = at(first, last, peeled);
    let leaf = -1;
    let uniform = true;
    for (let index = first; index <= last && uniform; index++) {
      if (gone[index] === 1) continue;
      if (leaf < 0) leaf = index;
      else uniform = keys[index] === keys[leaf];
    }
    if (uniform) {
      cost[slot] = leaf < 0 ? 0 : (groups[leaf] as Group).result.cost;
      choice[slot] = -2;
      return;
    }
    let best = Number.POSITIVE_INFINITY;
    let bestChoice = -2;
    if (peeled < top.length) {
      const hit = weights[top[peeled] as number] as number;
      best = weight + price + takenCost * Math.min(hit, weight - hit) + (cost[at(first, last, peeled + 1)] as number);
      bestChoice = -1;
    }
    const fixed = weight + price;
    let goneBelow = 0;
    let below = 0;
    let goneBefore = 0;
    for (let middle = first + 1; middle <= last; middle++) {
      const gonePrevious = gone[middle - 1] as number;
      if (gonePrevious === 1) goneBelow++;
      else below += weights[middle - 1] as number;
      // A cut on either side of a peeled value is the same cut.
      const skip = goneBefore & gonePrevious;
      goneBefore = gonePrevious;
      if (skip === 1) continue;
      const above = weight - below;
      const sum =
        fixed +
        takenCost * Math.min(below, above) +
        (cost[(first * n + middle - 1) * layers + goneBelow] as number) +
        (cost[(middle * n + last) * layers + peeled - goneBelow] as number);
      if (sum < best) {
        best = sum;
        bestChoice = middle;
      }
    }
    cost[slot] = best;
    choice[slot] = bestChoice;
  }

  function rebuild(first: number, last: number, peeled: number): SearchTree {
    const slot = at(first, last, peeled);
    const chosen = choice[slot] as number;
    const top = heaviest(first, last).slice(0, peeled);
    if (chosen === -2) {
      let index = first;
      while (index < last && top.includes(index)) index++;
      return (groups[index] as Group).result.tree;
    }
    const weightOf = (from: number, to: number): number => {
      let sum = (prefix[to + 1] as number) - (prefix[from] as number);
      for (const index of top) if (index >= from && index <= to) sum -= (groups[index] as Group).weight;
      return sum;
    };
    if (chosen === -1) {
      const group = groups[heaviest(first, last)[peeled] as number] as Group;
      return {
        kind: 'peel',
        value: group.from,
        target: group.key,
        rest: rebuild(first, last, peeled + 1),
        hitWeight: group.weight,
        restWeight: weightOf(first, last) - group.weight,
      };
    }
    const goneBelow = top.filter((index) => index < chosen).length;
    return {
      kind: 'split',
      at: (groups[chosen] as Group).from,
      below: rebuild(first, chosen - 1, goneBelow),
      above: rebuild(chosen, last, peeled - goneBelow),
      belowWeight: weightOf(first, chosen - 1),
      aboveWeight: weightOf(chosen, last),
    };
  }
}

/** The heaviest peelable groups of a run, heaviest first, at most `depth`; ties go to the lower index. */
function heaviestByRun(groups: readonly Group[], depth: number): (first: number, last: number) => readonly number[] {
  const order = groups
    .map((_, index) => index)
    .filter((index) => (groups[index] as Group).peelable)
    .sort((a, b) => (groups[b] as Group).weight - (groups[a] as Group).weight || a - b);
  const known = new Map<number, readonly number[]>();
  return (first, last) => {
    const key = first * groups.length + last;
    let found = known.get(key);
    if (found === undefined) {
      const list: number[] = [];
      for (const index of order) {
        if (list.length === depth) break;
        if (index >= first && index <= last) list.push(index);
      }
      found = list;
      known.set(key, found);
    }
    return found;
  };
}

/** The smallest shape: halves until a run is few values against one background, then a chain of equality tests. */
function bucketTree(
  items: readonly SearchItem[],
  first: number,
  last: number,
  bucketValues: number,
  price: number,
): SearchResult {
  const bucket = asBucket(items, first, last, bucketValues);
  const weight = weightOfRun(items, first, last);
  if (bucket !== undefined) {
    let tree: SearchTree = { kind: 'leaf', target: bucket.background };
    let below = weight - bucket.values.reduce((sum, item) => sum + item.weight, 0);
    let cost = 0;
    for (const item of bucket.values.toReversed()) {
      tree = {
        kind: 'peel',
        value: item.from,
        target: item.target,
        rest: tree,
        hitWeight: item.weight,
        restWeight: below,
      };
      below += item.weight;
      cost += below + price;
    }
    return { tree, cost };
  }
  let middle = (first + last + 1) >>> 1;
  // Beside a wide interval if there is one, so that a value and its neighbours stay in one bucket.
  if ((items[middle] as SearchItem).from === (items[middle] as SearchItem).to && middle - 1 > first) middle--;
  const below = bucketTree(items, first, middle - 1, bucketValues, price);
  const above = bucketTree(items, middle, last, bucketValues, price);
  return {
    tree: {
      kind: 'split',
      at: (items[middle] as SearchItem).from,
      below: below.tree,
      above: above.tree,
      belowWeight: weightOfRun(items, first, middle - 1),
      aboveWeight: weightOfRun(items, middle, last),
    },
    cost: weight + price + below.cost + above.cost,
  };
}

function asBucket(
  items: readonly SearchItem[],
  first: number,
  last: number,
  most: number,
): { background: number; values: SearchItem[] } | undefined {
  const counts = new Map<number, number>();
  let wide: number | undefined;
  for (let index = first; index <= last; index++) {
    const item = items[index] as SearchItem;
    counts.set(item.target, (counts.get(item.target) ?? 0) + 1);
    if (item.from === item.to) continue;
    if (wide !== undefined && wide !== item.target) return undefined;
    wide = item.target;
  }
  const background = wide ?? ([...counts].reduce((a, b) => (b[1] > a[1] ? b : a))[0] as number);
  const others = last - first + 1 - (counts.get(background) as number);
  if (others > most) return undefined;
  const values = items.slice(first, last + 1).filter((item) => item.target !== background);
  return { background, values: values.sort((a, b) => b.weight - a.weight || a.from - b.from) };
}

function weightOfRun(items: readonly SearchItem[], first: number, last: number): number {
  let sum = 0;
  for (let index = first; index <= last; index++) sum += (items[index] as SearchItem).weight;
  return sum;
}
