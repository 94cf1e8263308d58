// SPDX-License-Identifier: Apache-2.0
// A death by SIGSYS in the words of the profile. With the kernel's audit record: the call and its rule. Without: the rules that can have killed.
import type { AuditRecord } from '../audit/record.ts';
import { formatSource } from '../policy/index.ts';
import type { Action, FilterPolicy, ResolvedStage, Rule } from '../policy/types.ts';
import { auditArchOf, syscallName } from '../tables/index.ts';

export interface KillExplanation {
  /** Null when the kernel's record could not be read. */
  readonly syscall: string | null;
  readonly thread: string | null;
  readonly instructionPointer: string | null;
  readonly rule: { readonly file: string; readonly line: number; readonly why: string } | null;
  readonly fix: string | null;
  readonly words: string;
}

/** `record` is undefined when there is none, and `missing` then says why. */
export function explainKill(stage: ResolvedStage, record: AuditRecord | undefined, missing: string): KillExplanation {
  return record === undefined ? withoutRecord(stage, missing) : withRecord(stage, record);
}

function withRecord(stage: ResolvedStage, record: AuditRecord): KillExplanation {
  const { filter } = stage;
  const at = { thread: record.thread, instructionPointer: record.instructionPointer };
  const where = `thread ${record.thread}, at ${record.instructionPointer}`;
  if (isForeign(filter, record)) {
    const syscall = `call ${record.nr} of another ABI (audit arch 0x${record.auditArch.toString(16)})`;
    const words = `${syscall} in ${where}: stage ${stage.name} answers every foreign call with ${filter.foreign.kind}`;
    return { syscall, ...at, rule: null, fix: null, words };
  }
  const syscall = syscallName(filter.arch, record.nr) ?? `syscall ${record.nr}`;
  const [rule] = killingRules(filter).filter((each) => each.nr === record.nr);
  const fix = `stage ${stage.name}, and those before it: in place of the rule that kills: syscalls: [{ allow: [${syscall}], why: "..." }]`;
  const cause = rule === undefined ? `the default of stage ${stage.name}` : ruleWords(rule.rule);
  return {
    syscall,
    ...at,
    rule: rule === undefined ? null : { ...plainSource(rule.rule), why: rule.rule.why },
    fix,
    words: `${syscall} in ${where}: killed by ${cause}; to permit: ${fix}`,
  };
}

function withoutRecord(stage: ResolvedStage, missing: string): KillExplanation {
  const byRule = new Map<string, { readonly rule: Rule; readonly names: string[] }>();
  for (const { name, rule } of killingRules(stage.filter)) {
    const key = formatSource(rule.source);
    const entry = byRule.get(key) ?? { rule, names: [] };
    entry.names.push(name);
    byRule.set(key, entry);
  }
  const causes = [...byRule.values()].map(({ rule, names }) => `${names.join(', ')} (${ruleWords(rule)})`);
  if (isKill(stage.filter.foreign)) causes.push('any call of another ABI (x32, i386)');
  if (isKill(stage.filter.otherwise)) causes.push('any call without a rule');
  return {
    syscall: null,
    thread: null,
    instructionPointer: null,
    rule: null,
    fix: null,
    words: `which call is not known (${missing}). In stage ${stage.name} these kill: ${causes.join('; ')}`,
  };
}

function killingRules(
  filter: FilterPolicy,
): readonly { readonly nr: number; readonly name: string; readonly rule: Rule }[] {
  return filter.syscalls.flatMap(({ nr, name, rules, otherwiseRule }) =>
    [...rules, ...(otherwiseRule === undefined ? [] : [otherwiseRule])]
      .filter(({ action }) => isKill(action))
      .map((rule) => ({ nr, name, rule })),
  );
}

function isForeign(filter: FilterPolicy, { auditArch, nr }: AuditRecord): boolean {
  const x32Bit = 0x4000_0000;
  return auditArch !== auditArchOf(filter.arch) || (filter.arch === 'x86_64' && (nr & x32Bit) !== 0);
}

function isKill({ kind }: Action): boolean {
  return kind === 'kill-process' || kind === 'kill-thread' || kind === 'trap';
}

function plainSource({ source }: Rule): { readonly file: string; readonly line: number } {
  return { file: source.file, line: source.line };
}

function ruleWords({ source, why }: Rule): string {
  return `${source.file}:${source.line}: ${why}`;
}
