// SPDX-License-Identifier: Apache-2.0
// Several filters on one thread: the kernel runs all of them, and the lowest action wins.

import type { FilterPolicy } from '../policy/types.ts';
import { combineActions } from '../simulator/action.ts';
import { type Diagram, Diagrams } from './diagram.ts';
import { policyDiagram } from './policy-diagram.ts';
import { isLooser } from './tightening.ts';
import { type CounterExample, compareDiagrams, meaningOf, unproven } from './verify.ts';

/**
 * Programs in the order of their installation, and the policy that each was made for. Throws FILTER_UNPROVEN unless, at every length, the
 * programs decide together exactly as the policies do together, and nothing that a shorter chain refused is permitted.
 */
export function verifyChain(programs: readonly Uint8Array[], policies: readonly FilterPolicy[]): void {
  if (programs.length !== policies.length) throw new TypeError('a chain needs one policy a program');
  const diagrams = new Diagrams();
  let wanted: Diagram | undefined;
  let actual: Diagram | undefined;
  programs.forEach((program, index) => {
    const policy = policies[index] as FilterPolicy;
    const before = actual;
    actual = onTop(diagrams, meaningOf(diagrams, program), actual);
    wanted = onTop(diagrams, policyDiagram(diagrams, policy), wanted);
    const difference =
      compareDiagrams(diagrams, wanted, actual) ??
      (before === undefined ? undefined : findLoosening(diagrams, before, actual));
    if (difference !== undefined)
      throw unproven(`the chain of the first ${index + 1} filters`, difference, policy.arch);
  });
}

/** What a chain decides, given oldest first. */
export function chainDiagram(diagrams: Diagrams, programs: readonly Uint8Array[]): Diagram {
  let chain: Diagram | undefined;
  for (const program of programs) chain = onTop(diagrams, meaningOf(diagrams, program), chain);
  return chain ?? diagrams.terminal(0x7fff0000);
}

function onTop(diagrams: Diagrams, newer: Diagram, older: Diagram | undefined): Diagram {
  return older === undefined ? newer : diagrams.combine(combineActions, newer, older);
}

function findLoosening(diagrams: Diagrams, before: Diagram, after: Diagram): CounterExample | undefined {
  // Equal where nothing is loosened; where something is, the value before.
  const kept = diagrams.combine((one, other) => (isLooser(one, other) ? one : other), before, after);
  return compareDiagrams(diagrams, kept, after);
}
