// SPDX-License-Identifier: Apache-2.0
// A stage as Firecracker's seccompiler takes it: one filter a thread class, with one action for what matches and one for the rest.

import type { FilterPolicy } from '../../policy/types.ts';
import { decodeAction, permits, refuses } from '../../simulator/action.ts';
import { strictest } from '../import/program-parts.ts';
import type { ArgumentTest } from './argument-tests.ts';
import { type CallAnswer, stageAnswers } from './stage-answers.ts';

/** The JSON text: the whole process's filter as `vmm`, roles under their own names. */
export function exportFirecracker(filters: Readonly<Record<string, FilterPolicy>>): string {
  const classes = Object.entries(filters).map(([name, filter]) => [name, threadClass(filter)]);
  return `${toJson(Object.fromEntries(classes))}\n`;
}

/**
 * Under a default that refuses, all that is permitted matches, and every refusal is the default's. Under one that permits, all refusals match, and
 * the strictest stands for all.
 */
function threadClass(filter: FilterPolicy): object {
  const { otherwise, calls } = stageAnswers(filter, { compares32: true });
  const all = calls.flat();
  const opens = !permits(otherwise);
  const matching = all.filter(({ returned }) => (opens ? permits(returned) : refuses(returned)));
  const matched = opens ? 'allow' : actionName(strictest([...matching.map(({ returned }) => returned), 0x0005_0001]));
  return {
    default_action: actionName(otherwise),
    filter_action: matched,
    filter: matching.flatMap((answer) => entries(answer, opens)),
  };
}

/** Too many alternatives: a permission is left out, a refusal holds always. */
function entries({ name, alternatives }: CallAnswer, opens: boolean): readonly object[] {
  const told = alternatives ?? (opens ? [] : [[]]);
  return told.map((tests) => ({ syscall: name, ...(tests.length === 0 ? {} : { args: tests.map(argFields) }) }));
}

function actionName(returned: number): string | object {
  const action = decodeAction(returned);
  switch (action.kind) {
    case 'errno':
      return { errno: action.errno };
    case 'trace':
      return { trace: action.data };
    case 'kill-process':
      return 'kill_process';
    case 'kill-thread':
      return 'kill_thread';
    case 'broker':
      return { errno: 13 };
    default:
      return action.kind;
  }
}

function argFields({ index, bits, op, mask, value }: ArgumentTest): object {
  return { index, type: bits === 32 ? 'dword' : 'qword', op: op === 'masked' ? { masked_eq: mask } : op, val: value };
}

function toJson(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) => (typeof part === 'bigint' ? `\u0000${part}` : part), 2).replace(
    /"\\u0000(\d+)"/g,
    '$1',
  );
}
