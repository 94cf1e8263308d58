// SPDX-License-Identifier: Apache-2.0
// A stage as the seccomp object of the OCI runtime specification, and as the Kubernetes resource around it.
//
// runc and libseccomp take one comparison an argument and entry, 64 bits wide: a 32-bit argument is compared under a mask. Entries with
// the default's own action do nothing, and entries of different actions here never overlap.

import { dump } from 'js-yaml';
import { letsThrough } from '../../policy/actions.ts';
import { writingBigInts } from '../../policy/big-integers.ts';
import type { Action, Arch, FilterPolicy } from '../../policy/types.ts';
import { decodeAction, refuses } from '../../simulator/action.ts';
import type { ArgumentTest } from './argument-tests.ts';
import { type CallAnswer, stageAnswers } from './stage-answers.ts';

export interface OciOptions {
  /** Name of the Kubernetes resource. */
  readonly name: string;
  /** The socket of whoever answers SCMP_ACT_NOTIFY; brokered calls are notified only with it. */
  readonly listenerPath?: string | undefined;
}

/** The JSON text. */
export function exportOci(filter: FilterPolicy, { listenerPath }: OciOptions): string {
  return `${toJson(ociObject(filter, listenerPath))}\n`;
}

/** The YAML text of a SeccompProfile for the security profiles operator. */
export function exportSpo(filter: FilterPolicy, { name, listenerPath }: OciOptions): string {
  const resource = {
    apiVersion: 'security-profiles-operator.x-k8s.io/v1beta1',
    kind: 'SeccompProfile',
    metadata: { name },
    spec: ociObject(filter, listenerPath),
  };
  return dump(resource, { schema: writingBigInts, noRefs: true });
}

const arches: Readonly<Record<Arch, string>> = {
  x86_64: 'SCMP_ARCH_X86_64',
  aarch64: 'SCMP_ARCH_AARCH64',
  riscv64: 'SCMP_ARCH_RISCV64',
};

function ociObject(filter: FilterPolicy, listenerPath: string | undefined): object {
  const { otherwise, calls } = stageAnswers(filter, { compares32: false });
  const fallback = actionFields(decodeAction(otherwise));
  return {
    defaultAction: fallback.action,
    ...(fallback.errnoRet === undefined ? {} : { defaultErrnoRet: fallback.errnoRet }),
    architectures: [arches[filter.arch]],
    ...(listenerPath === undefined ? {} : { listenerPath }),
    syscalls: [...wholeCalls(calls), ...calls.flatMap((answers) => partialCalls(answers, otherwise))],
  };
}

/** Calls with one answer whatever the arguments, one entry an answer. */
function wholeCalls(calls: readonly (readonly CallAnswer[])[]): readonly object[] {
  const byAnswer = new Map<number, string[]>();
  for (const answers of calls) {
    const [only] = answers;
    if (only === undefined || !isWhole(only)) continue;
    byAnswer.set(only.returned, [...(byAnswer.get(only.returned) ?? []), only.name]);
  }
  return [...byAnswer].map(([returned, names]) => ({ names, ...actionFields(decodeAction(returned)) }));
}

function isWhole({ alternatives }: CallAnswer): boolean {
  return alternatives?.length === 1 && alternatives[0]?.length === 0;
}

function partialCalls(answers: readonly CallAnswer[], otherwise: number): readonly object[] {
  const [only] = answers;
  if (only === undefined || isWhole(only)) return [];
  // What takes too many entries: a permission is left out, and a refusal too where the default refuses as well. Otherwise it holds always.
  const endless = answers.filter(({ alternatives }) => alternatives === undefined);
  const always = endless.find(({ returned }) => refuses(returned) && !refuses(otherwise));
  if (always !== undefined) return [{ names: [always.name], ...actionFields(decodeAction(always.returned)) }];
  return answers.flatMap(({ name, returned, alternatives = [] }) =>
    alternatives.map((tests) => ({
      names: [name],
      ...actionFields(decodeAction(returned)),
      args: tests.map(argFields),
    })),
  );
}

function actionFields(action: Action): { readonly action: string; readonly errnoRet?: number } {
  switch (action.kind) {
    case 'errno':
      return { action: 'SCMP_ACT_ERRNO', errnoRet: action.errno };
    case 'trace':
      return { action: 'SCMP_ACT_TRACE', errnoRet: action.data };
    case 'broker':
      return { action: 'SCMP_ACT_NOTIFY' };
    case 'kill-process':
      return { action: 'SCMP_ACT_KILL_PROCESS' };
    case 'kill-thread':
      return { action: 'SCMP_ACT_KILL_THREAD' };
    case 'trap':
      return { action: 'SCMP_ACT_TRAP' };
    default:
      return { action: letsThrough(action) && action.kind === 'log' ? 'SCMP_ACT_LOG' : 'SCMP_ACT_ALLOW' };
  }
}

function argFields({ index, bits, op, mask, value }: ArgumentTest): object {
  if (op === 'masked' || bits === 32) return { index, value: mask, valueTwo: value, op: 'SCMP_CMP_MASKED_EQ' };
  return { index, value, op: { eq: 'SCMP_CMP_EQ', ne: 'SCMP_CMP_NE', le: 'SCMP_CMP_LE', ge: 'SCMP_CMP_GE' }[op] };
}

/** Values are whole 64-bit numbers, which JavaScript's own numbers are not. */
function toJson(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) => (typeof part === 'bigint' ? `\u0000${part}` : part), 2).replace(
    /"\\u0000(\d+)"/g,
    '$1',
  );
}
