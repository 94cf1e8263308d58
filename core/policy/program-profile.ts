// SPDX-License-Identifier: Apache-2.0
// What a profile must be like to confine a named program. Nobody tightens such a program later and no broker serves it, and it must not leave a process behind that
// outlives the VM: the parent's death ends its children, but not theirs.
import { RatchetError } from '../errors.ts';
import { constantValue } from '../tables/index.ts';
import { letsThrough } from './actions.ts';
import { satisfiable } from './satisfiable.ts';
import type { Condition, FilterPolicy, ResolvedProfile, Rule } from './types.ts';

const prSetPdeathsig = 1n;

/** Calls that make a process, whatever their arguments. clone3's flags lie behind a pointer. */
const processMakers: ReadonlySet<string> = new Set(['fork', 'vfork', 'clone3', 'execve']);

/** @throws RatchetError PROFILE_INVALID. */
export function assertConfinesProgram({ name, stages }: ResolvedProfile): void {
  const [stage] = stages;
  const problem =
    stage === undefined || stages.length > 1 || Object.keys(stage.roles).length > 0
      ? 'has more than one stage, or roles, and nobody would enter them'
      : stage.broker.some(({ refuseErrno }) => refuseErrno === undefined)
        ? 'has broker rules that grant, and no broker serves such a program'
        : outlives(stage.filter);
  if (problem === undefined) return;
  throw new RatchetError('PROFILE_INVALID', `profile ${name} ${problem}: it cannot confine a named program`, {
    next: 'start from profiles/named-program.yaml',
  });
}

/** By a child, or by itself. */
function outlives(filter: FilterPolicy): string | undefined {
  if (letsThrough(filter.otherwise) || letsThrough(filter.unknown)) return 'lets through what it does not list';
  // Under other numbers the same calls are made: x32's and i386's.
  if (letsThrough(filter.foreign)) return 'lets through calls of foreign ABIs';
  for (const { name, rules, otherwise } of filter.syscalls) {
    const open = [...rules.filter(({ action }) => letsThrough(action)).map(({ when }) => when)];
    if (letsThrough(otherwise)) open.push(without(rules));
    if (processMakers.has(name) && open.some((when) => satisfiable(when) !== 'no')) return `allows ${name}`;
    if (name === 'clone' && open.some(makesProcess)) return 'allows clone without CLONE_THREAD';
    if (name === 'prctl' && open.some(outlivesParent)) return 'allows prctl with PR_SET_PDEATHSIG';
    if (name === 'execveat' && open.some((when) => satisfiable(when) !== 'no'))
      return 'allows execveat, which is for the broker rules of the group one-exec';
  }
  return undefined;
}

/** Where no rule decides. */
function without(rules: readonly Rule[]): Condition {
  return { kind: 'and', terms: rules.map(({ when }) => ({ kind: 'not', term: when })) };
}

function makesProcess(when: Condition): boolean {
  return meets(when, constantValue('x86_64', 'CLONE_THREAD') ?? 0n, 0n);
}

/** The stager asked to die with the launcher. */
function outlivesParent(when: Condition): boolean {
  return meets(when, 0xffff_ffffn, prSetPdeathsig);
}

/** Whether the first argument can have this value under the mask. */
function meets(when: Condition, mask: bigint, value: bigint): boolean {
  const compared: Condition = { kind: 'compare', arg: 0, width: 'low32', mask, op: '==', value, signed: false };
  return satisfiable({ kind: 'and', terms: [when, compared] }) !== 'no';
}
