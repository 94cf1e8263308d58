// SPDX-License-Identifier: Apache-2.0
// Resolved profiles by hand, so that these tests need neither the loader nor the compiler.
import type {
  Action,
  BrokerRequestKind,
  BrokerRule,
  FilterPolicy,
  ResolvedProfile,
  Rule,
} from '../../core/policy/types.ts';
import { syscallNumber } from '../../core/tables/index.ts';

const allow: Action = { kind: 'allow' };
const source = { file: 'test.yaml', line: 7, column: 3 };

/** `connect tcp:127.0.0.1:80`, or with an errno in front: `ENOENT=2 connect unix:/x`. */
export function brokerRules(lines: readonly string[]): readonly BrokerRule[] {
  return lines.map((line, index) => {
    const [, errno, request, target] = /^(?:(\d+) )?(\w+) (.*)$/.exec(line) ?? [];
    return {
      request: request as BrokerRequestKind,
      target: target ?? '',
      refuseErrno: errno === undefined ? undefined : Number(errno),
      why: `test rule ${index}`,
      source: { ...source, line: index + 1 },
    };
  });
}

/** Everything is allowed but what is named here. */
export function filterPolicy(actions: Readonly<Record<string, Action>>): FilterPolicy {
  const syscalls = Object.entries(actions).map(([name, action]) => {
    const rule: Rule = {
      action,
      when: { kind: 'always' },
      whenText: '',
      why: `a test rule for ${name}`,
      risk: undefined,
      source,
    };
    const nr = syscallNumber('x86_64', name);
    if (nr === undefined) throw new Error(`no call ${name}`);
    return { nr, name, rules: [rule], otherwise: action };
  });
  return {
    arch: 'x86_64',
    syscalls: syscalls.sort((left, right) => left.nr - right.nr),
    otherwise: allow,
    unknown: { kind: 'errno', errno: 38, quiet: false },
    lastKnownNr: 500,
    foreign: { kind: 'kill-process' },
  };
}

export interface StageText {
  readonly rules: readonly string[];
  readonly actions?: Readonly<Record<string, Action>>;
}

export function profileOf(stages: Readonly<Record<string, StageText>>): ResolvedProfile {
  return {
    name: 'test',
    file: 'test.yaml',
    vmm: 'victim',
    arch: 'x86_64',
    stages: Object.entries(stages).map(([name, { rules, actions }], epoch) => ({
      name,
      epoch,
      filter: filterPolicy(actions ?? {}),
      roles: {},
      broker: brokerRules(rules),
    })),
  };
}
