// SPDX-License-Identifier: Apache-2.0
// Proof that a program decides exactly as a policy does.

import { RatchetError } from '../errors.ts';
import type { FilterPolicy, SyscallCall } from '../policy/types.ts';
import { describeAction } from '../simulator/action.ts';
import { decodeProgram } from '../simulator/instruction.ts';
import { describeCall } from './describe-call.ts';
import { type Diagram, Diagrams } from './diagram.ts';
import { policyDiagram } from './policy-diagram.ts';
import { programDiagram } from './program-diagram.ts';
import { findInvalidity } from './validity.ts';
import { findDifference } from './words.ts';

/** A call on which a program and what was asked of it differ. Both values are SECCOMP_RET_*. */
export interface CounterExample {
  readonly call: SyscallCall;
  readonly expected: number;
  readonly actual: number;
}

/** Throws FILTER_UNPROVEN, with a concrete call, unless the program is valid and returns on every call what the policy says. */
export function verifyFilter(program: Uint8Array, policy: FilterPolicy): void {
  const counterExample = findCounterExample(program, policy);
  if (counterExample !== undefined) throw unproven('the compiled filter', counterExample, policy.arch);
}

/** The first call on which they differ; undefined when there is none. Throws FILTER_UNPROVEN for a program that the kernel would refuse. */
export function findCounterExample(program: Uint8Array, policy: FilterPolicy): CounterExample | undefined {
  const diagrams = new Diagrams();
  const expected = policyDiagram(diagrams, policy);
  return compareDiagrams(diagrams, expected, meaningOf(diagrams, program));
}

/** The function that a program computes, validity checked first. */
export function meaningOf(diagrams: Diagrams, program: Uint8Array): Diagram {
  const instructions = decodeProgram(program);
  const invalidity = findInvalidity(instructions);
  if (invalidity !== undefined)
    throw new RatchetError('FILTER_UNPROVEN', `the kernel would not load this program: ${invalidity}`);
  return programDiagram(diagrams, instructions);
}

export function compareDiagrams(diagrams: Diagrams, expected: Diagram, actual: Diagram): CounterExample | undefined {
  const difference = findDifference(diagrams, expected, actual);
  return difference && { call: difference.call, expected: difference.first, actual: difference.second };
}

export function unproven(
  what: string,
  { call, expected, actual }: CounterExample,
  arch: FilterPolicy['arch'],
): RatchetError {
  return new RatchetError(
    'FILTER_UNPROVEN',
    `${what} answers ${describeAction(actual)} to ${describeCall(call, arch)}, but should answer ${describeAction(expected)}`,
    { next: 'this is a bug in ratchet; nothing was installed' },
  );
}
