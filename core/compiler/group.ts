// SPDX-License-Identifier: Apache-2.0
import type { SearchItem, SearchResult } from './search-tree.ts';

/** A run of items that the tree treats as one. */
export interface Group {
  readonly from: number;
  readonly weight: number;
  /** Equal keys: leaves that need no test between them. */
  readonly key: number;
  readonly peelable: boolean;
  readonly result: SearchResult;
}

export function single(item: SearchItem): Group {
  return {
    from: item.from,
    weight: item.weight,
    key: item.target,
    peelable: item.from === item.to,
    result: { tree: { kind: 'leaf', target: item.target }, cost: 0 },
  };
}

/** Tells the heaviest peelable groups of a run, heaviest first, at most `depth`; ties go to the lower index. */
export function heaviestByRun(
  groups: readonly Group[],
  depth: number,
): (first: number, last: number) => readonly number[] {
  const order = groups
    .map((_, index) => index)
    .filter((index) => (groups[index] as Group).peelable)
    .sort((a, b) => (groups[b] as Group).weight - (groups[a] as Group).weight || a - b);
  return (first, last) => {
    const list: number[] = [];
    for (const index of order) {
      if (list.length === depth) break;
      if (index >= first && index <= last) list.push(index);
    }
    return list;
  };
}
