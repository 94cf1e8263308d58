// SPDX-License-Identifier: Apache-2.0
import type { Action, Condition, FilterPolicy } from '../../core/policy/types.ts';

/** A small x86_64 policy: the given rules, one a number, and death for everything else. */
export function policyOf(rules: readonly { nr: number; action: Action; when: Condition }[]): FilterPolicy {
  const kill: Action = { kind: 'kill-process' };
  const source = { file: 'policy-of', line: 1, column: 1 };
  return {
    arch: 'x86_64',
    syscalls: rules.map(({ nr, action, when }) => ({
      nr,
      name: `call${nr}`,
      rules: [{ action, when, whenText: '', why: '', risk: undefined, source }],
      otherwise: kill,
    })),
    otherwise: kill,
    unknown: { kind: 'errno', errno: 38, quiet: true },
    foreign: kill,
    lastKnownNr: 471,
  };
}
