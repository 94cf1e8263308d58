// SPDX-License-Identifier: Apache-2.0
import { syscallNames, syscallNumber } from '../tables/index.ts';
import { letsThrough } from './actions.ts';
import type { Action, FilterPolicy, SyscallRules } from './types.ts';

/** How much a filter lets through, in numbers of system calls. */
export interface FilterSummary {
  /** Let through for at least some arguments. */
  readonly allowed: number;
  /** Of those, let through for some arguments only. */
  readonly conditional: number;
  /** Answered by the broker for at least some arguments. */
  readonly brokered: number;
  /** Names of the calls that are let through or brokered, sorted. */
  readonly names: readonly string[];
}

/** Counts what the policy permits. */
export function summarizeFilter(filter: FilterPolicy): FilterSummary {
  const byNumber = new Map(filter.syscalls.map((entry) => [entry.nr, entry]));
  const known = syscallNames(filter.arch).map((name): readonly [string, readonly Action[]] => {
    const entry = byNumber.get(syscallNumber(filter.arch, name) ?? -1);
    return [name, entry === undefined ? [filter.otherwise] : possibleActions(entry)];
  });
  const allowed = known.filter(([, actions]) => actions.some(letsThrough));
  const brokered = known.filter(([, actions]) => actions.some(isBroker));
  return {
    allowed: allowed.length,
    conditional: allowed.filter(([, actions]) => !actions.every(letsThrough)).length,
    brokered: brokered.length,
    names: [...new Set([...allowed, ...brokered].map(([name]) => name))].sort(),
  };
}

/** An unconditional rule leaves nothing to the others, nor to what holds otherwise. */
function possibleActions({ rules, otherwise }: SyscallRules): readonly Action[] {
  const whole = rules.find(({ when }) => when.kind === 'always');
  return whole === undefined ? [...rules.map(({ action }) => action), otherwise] : [whole.action];
}

function isBroker(action: Action): boolean {
  return action.kind === 'broker';
}
