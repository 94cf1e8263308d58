// SPDX-License-Identifier: Apache-2.0
import { errnoName } from '../tables/index.ts';
import type { Action, BrokerRequestKind } from './types.ts';

/** What a rule may do, by its key. */
export const ruleActions = [
  'allow',
  'broker',
  'refuse',
  'log',
  'trap',
  'trace',
  'kill-thread',
  'kill-process',
] as const;
export type RuleAction = (typeof ruleActions)[number];

export const brokerRequestKinds = [
  'connect',
  'bind',
  'open',
  'tap',
  'device',
  'memory',
  'terminal',
  'pair',
  'exec',
] as const satisfies readonly BrokerRequestKind[];

/** Whether the call goes on to the kernel (log lets it through; trace leaves that to a tracer). */
export function letsThrough(action: Action): boolean {
  return action.kind === 'allow' || action.kind === 'log' || action.kind === 'trace';
}

export function sameAction(a: Action, b: Action): boolean {
  if (a.kind === 'errno' && b.kind === 'errno') return a.errno === b.errno && a.quiet === b.quiet;
  if (a.kind === 'trace' && b.kind === 'trace') return a.data === b.data;
  return a.kind === b.kind;
}

/** Whoever is refused hears the same; `quiet` only says who tells of it. */
export function sameAnswer(a: Action, b: Action): boolean {
  return a.kind === b.kind && !(a.kind === 'errno' && b.kind === 'errno' && a.errno !== b.errno);
}

export function isRefusal({ kind }: Action): boolean {
  return kind === 'errno' || kind === 'trap' || kind === 'kill-thread' || kind === 'kill-process';
}

/** An action as a stage's `default` writes it: `errno EPERM`, `kill-process`... */
export function formatAction(action: Action): string {
  switch (action.kind) {
    case 'errno':
      return `errno ${action.errno === 0 ? 'none' : (errnoName(action.errno) ?? action.errno)}${action.quiet ? ' quiet' : ''}`;
    case 'trace':
      return `trace ${action.data}`;
    default:
      return action.kind;
  }
}
