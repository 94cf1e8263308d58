// SPDX-License-Identifier: Apache-2.0
// Random profiles whose stages and roles only tighten.

import fc from 'fast-check';
import type {
  Action,
  Condition,
  FilterPolicy,
  ResolvedProfile,
  ResolvedStage,
  Rule,
  SyscallRules,
} from '../../core/policy/types.ts';
import { arbitraryPolicy } from './arbitrary-policy.ts';

const kill: Action = { kind: 'kill-process' };

const rank = (action: Action): number => {
  if (action.kind === 'allow' || action.kind === 'log' || action.kind === 'trace') return 2;
  return action.kind === 'broker' ? 1 : 0;
};

const stricter = (a: Action, b: Action): Action => (rank(b) < rank(a) ? b : a);

/** Where each of a syscall's actions holds; the default's part last. */
const parts = (given: SyscallRules): { action: Action; when: Condition }[] => [
  ...given.rules.map(({ action, when }) => ({ action, when })),
  { action: given.otherwise, when: { kind: 'not', term: { kind: 'or', terms: given.rules.map(({ when }) => when) } } },
];

const rulesOf = (policy: FilterPolicy, nr: number): SyscallRules =>
  policy.syscalls.find((syscall) => syscall.nr === nr) ?? {
    nr,
    name: `call${nr}`,
    rules: [],
    otherwise: policy.otherwise,
  };

const source = { file: 'random.yaml', line: 1, column: 1 };

/** `base` with every answer of `other` that is stricter. */
export function tightened(base: FilterPolicy, other: FilterPolicy, brokersMayGrow: boolean): FilterPolicy {
  const numbers = [...new Set([...base.syscalls, ...other.syscalls].map(({ nr }) => nr))].sort((a, b) => a - b);
  const pick = (a: Action, b: Action): Action => {
    const picked = stricter(a, b);
    return !brokersMayGrow && picked.kind === 'broker' && a.kind !== 'broker' ? kill : picked;
  };
  const syscalls = numbers.map((nr): SyscallRules => {
    const left = rulesOf(base, nr);
    const right = rulesOf(other, nr);
    const rules = parts(left).flatMap((a) =>
      parts(right).map(
        (b): Rule => ({
          action: pick(a.action, b.action),
          when: { kind: 'and', terms: [a.when, b.when] },
          whenText: '',
          why: 'random',
          risk: undefined,
          source,
        }),
      ),
    );
    return { nr, name: left.name, rules, otherwise: kill };
  });
  return {
    ...base,
    syscalls,
    otherwise: pick(base.otherwise, other.otherwise),
    unknown: pick(base.unknown, other.unknown),
    foreign: kill,
  };
}

const withForeignKilled = (policy: FilterPolicy, arch: FilterPolicy['arch']): FilterPolicy => ({
  ...policy,
  arch,
  foreign: kill,
});

export const arbitraryProfile: fc.Arbitrary<ResolvedProfile> = fc
  .tuple(arbitraryPolicy, fc.array(arbitraryPolicy, { minLength: 1, maxLength: 2 }), arbitraryPolicy)
  .map(([start, later, role]) => {
    const stages: ResolvedStage[] = [];
    let filter = withForeignKilled(start, start.arch);
    [undefined, ...later].forEach((change, epoch) => {
      if (change !== undefined) filter = tightened(filter, withForeignKilled(change, start.arch), true);
      const roles = epoch === 1 ? { worker: tightened(filter, withForeignKilled(role, start.arch), false) } : {};
      stages.push({ name: `stage${epoch}`, epoch, filter, roles, broker: [] });
    });
    return { name: 'random', file: 'random.yaml', vmm: 'none', arch: start.arch, stages };
  });
