// SPDX-License-Identifier: Apache-2.0
import { type Group, single } from './group.ts';
import type { SearchItem, SearchResult } from './search-tree.ts';

/**
 * Cuts a long run into about `limit` groups: heavy intervals stay on their own, light neighbours go together and are solved inside the group.
 * Little is lost, because light ones lie deep in any good tree.
 */
export function groupItems(
  items: readonly SearchItem[],
  limit: number,
  solve: (items: readonly SearchItem[]) => SearchResult,
): Group[] {
  const isHeavy = heavyTest(items, limit);
  const heavyCount = items.filter(isHeavy).length;
  const perGroup = Math.max(2, Math.ceil((items.length - heavyCount) / Math.max(8, limit - 2 * heavyCount)));
  const groups: Group[] = [];
  let run: SearchItem[] = [];
  let key = -1;
  const flush = (): void => {
    for (const part of evenParts(run, Math.ceil(run.length / perGroup))) {
      const [first] = part;
      if (first === undefined) continue;
      if (part.length === 1) groups.push(single(first));
      else {
        const weight = part.reduce((sum, item) => sum + item.weight, 0);
        groups.push({ from: first.from, weight, key: key--, peelable: false, result: solve(part) });
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

/** At most a third of the places go to heavy items, and each of them can cut a run of light ones in two. */
function heavyTest(items: readonly SearchItem[], limit: number): (item: SearchItem) => boolean {
  const weights = items.map((item) => item.weight).sort((a, b) => b - a);
  const total = weights.reduce((a, b) => a + b, 0);
  const threshold = Math.max(weights[Math.floor(limit / 3)] ?? 0, (total / limit) * 0.05);
  return (item) => item.weight > threshold;
}

function evenParts<Item>(items: readonly Item[], count: number): Item[][] {
  const cut = (part: number): number => Math.floor((part * items.length) / count);
  return Array.from({ length: count }, (_, part) => items.slice(cut(part), cut(part + 1)));
}
