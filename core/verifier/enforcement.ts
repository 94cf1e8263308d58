// SPDX-License-Identifier: Apache-2.0
// What a chain of filters and the listener do together, held against the profile itself. This knows nothing of how the programs were derived from it.

import { neverBrokered } from '../policy/dangerous.ts';
import type { FilterPolicy } from '../policy/types.ts';
import { actionOnly, refuses, returnValue } from '../simulator/action.ts';
import { numberOffset } from '../simulator/call-data.ts';
import { constantBits, equal, wordBits } from './bit-vector.ts';
import { type Diagram, type Diagrams, never } from './diagram.ts';
import { policyDiagram } from './policy-diagram.ts';
import type { CounterExample } from './verify.ts';
import { findDifference } from './words.ts';

/**
 * A call that the chain does not treat as the policy says; undefined when there is none. A notified call is decided by the listener, by this very policy: it
 * knows the role of the thread. Otherwise the chain's answer is the policy's, or both refuse and the chain's refusal is an older stage's stricter one.
 */
export function findUnenforced(diagrams: Diagrams, chain: Diagram, policy: FilterPolicy): CounterExample | undefined {
  const wanted = policyDiagram(diagrams, policy);
  const decided = diagrams.combine(
    (actual, byListener) => (actual === returnValue.userNotification ? byListener : actual),
    chain,
    wanted,
  );
  const agreed = diagrams.combine(
    (actual, expected) => {
      if (actual === expected) return expected;
      const bothRefuse = refuses(actual) && refuses(expected);
      return bothRefuse && (actionOnly(actual) | 0) <= (actionOnly(expected) | 0) ? expected : actual;
    },
    decided,
    wanted,
  );
  const difference =
    findDifference(diagrams, wanted, agreed) ?? findDifference(diagrams, ...notifiedInVain(diagrams, chain, policy));
  return difference && { call: difference.call, expected: difference.first, actual: difference.second };
}

/** The chain, and the chain with every notification of a call that must not be notified taken away: equal when there is none. */
function notifiedInVain(diagrams: Diagrams, chain: Diagram, policy: FilterPolicy): [Diagram, Diagram] {
  let unnotified = never;
  for (const { nr, name } of policy.syscalls) {
    if (!neverBrokered.has(name)) continue;
    unnotified = diagrams.or(
      unnotified,
      equal(diagrams, wordBits(diagrams, numberOffset), constantBits(BigInt(nr), 32)),
    );
  }
  const refused = diagrams.map(
    (value) => (value === returnValue.userNotification ? returnValue.killProcess : value),
    chain,
  );
  return [diagrams.choose(unnotified, refused, chain), chain];
}
