// SPDX-License-Identifier: Apache-2.0
import type { Decision, DecisionGraph } from './decision.ts';
import type { SearchTree } from './search-tree.ts';

/** A search tree as decisions; `known` are bits that every value here has. */
export function materialise(
  graph: DecisionGraph,
  contents: string,
  tree: SearchTree,
  known: number,
  leaf: (target: number) => Decision,
): Decision {
  switch (tree.kind) {
    case 'leaf':
      return leaf(tree.target);
    case 'split': {
      const constant = (tree.at | known) >>> 0;
      const yes = materialise(graph, contents, tree.above, known, leaf);
      const no = materialise(graph, contents, tree.below, known, leaf);
      // The JIT needs one instruction more for a constant of 2^31 or above.
      const test =
        constant === 0x80000000
          ? ({ op: 'above', constant: 0x7fffffff } as const)
          : ({ op: 'at-least', constant } as const);
      return graph.test(contents, { ...test, yes, no, yesWeight: tree.aboveWeight, noWeight: tree.belowWeight });
    }
    case 'peel': {
      const no = materialise(graph, contents, tree.rest, known, leaf);
      const constant = (tree.value | known) >>> 0;
      return graph.test(contents, {
        op: 'equal',
        constant,
        yes: leaf(tree.target),
        no,
        yesWeight: tree.hitWeight,
        noWeight: tree.restWeight,
      });
    }
  }
}
