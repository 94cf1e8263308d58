// SPDX-License-Identifier: Apache-2.0
import { syscallNumber } from '../tables/index.ts';
import { letsThrough } from './actions.ts';
import { restrictCondition } from './restrict.ts';
import { satisfiable } from './satisfiable.ts';
import type { Condition, FilterPolicy } from './types.ts';

/**
 * Whether the kernel would be left to perform a call, for some values of the arguments that are not given (64-bit registers by position). Yes where the
 * conditions are too large to decide; no for a call that the architecture does not have.
 */
export function mayPermit(filter: FilterPolicy, name: string, known: Readonly<Record<number, bigint>> = {}): boolean {
  const nr = syscallNumber(filter.arch, name);
  if (nr === undefined) return false;
  const entry = filter.syscalls.find((each) => each.nr === nr);
  if (entry === undefined) return letsThrough(filter.otherwise);
  const left = entry.rules.map(({ action, when }) => ({
    action,
    when: restrictCondition(
      when,
      Array.from({ length: 6 }, (_, index) => known[index]),
    ),
  }));
  const canHold = (condition: Condition): boolean => satisfiable(condition) !== 'no';
  if (left.some(({ action, when }) => letsThrough(action) && canHold(when))) return true;
  const none: Condition = { kind: 'not', term: { kind: 'or', terms: left.map(({ when }) => when) } };
  return letsThrough(entry.otherwise) && (left.length === 0 || canHold(none));
}
