// SPDX-License-Identifier: Apache-2.0
import { matches } from './evaluate.ts';
import type { Condition } from './types.ts';

/**
 * What is left of a condition when some of the six arguments are known (64-bit register values, undefined where not). Terms that only
 * look at known arguments become `always` or `never`, and what follows from that is folded.
 */
export function restrictCondition(condition: Condition, known: readonly (bigint | undefined)[]): Condition {
  switch (condition.kind) {
    case 'always':
    case 'never':
      return condition;
    case 'compare':
    case 'in': {
      if (known[condition.arg] === undefined) return condition;
      return truth(
        matches(
          condition,
          known.map((value) => value ?? 0n),
        ),
      );
    }
    case 'not': {
      const term = restrictCondition(condition.term, known);
      if (term.kind === 'always' || term.kind === 'never') return truth(term.kind === 'never');
      return { kind: 'not', term };
    }
    case 'and':
    case 'or': {
      const decisive = condition.kind === 'and' ? 'never' : 'always';
      const neutral = condition.kind === 'and' ? 'always' : 'never';
      const terms = condition.terms
        .map((term) => restrictCondition(term, known))
        .filter(({ kind }) => kind !== neutral);
      if (terms.some(({ kind }) => kind === decisive)) return { kind: decisive };
      const [only, ...others] = terms;
      if (only === undefined) return { kind: neutral };
      return others.length === 0 ? only : { kind: condition.kind, terms };
    }
  }
}

function truth(holds: boolean): Condition {
  return { kind: holds ? 'always' : 'never' };
}
