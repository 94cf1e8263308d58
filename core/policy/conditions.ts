// SPDX-License-Identifier: Apache-2.0
import type { Condition } from './types.ts';

/** The arguments that a condition looks at, by index; one may come several times. */
export function argumentsOf(condition: Condition): readonly number[] {
  switch (condition.kind) {
    case 'always':
    case 'never':
      return [];
    case 'compare':
    case 'in':
      return [condition.arg];
    case 'and':
    case 'or':
      return condition.terms.flatMap(argumentsOf);
    case 'not':
      return argumentsOf(condition.term);
  }
}
