// SPDX-License-Identifier: Apache-2.0
// Firecracker's seccompiler JSON, and that of rust-vmm with its other spelling: a filter for each thread class, with one action for calls that match
// and one for the rest. The classes become roles; what a thread of no role may do is what any of them may.
//
// What the source means (seccompiler): entries of one call are alternatives, the arguments of one entry are all required; `dword` compares the low
// 32 bits whatever the high ones are, `qword` all 64.

import { z } from 'zod';
import { letsThrough, sameAction } from '../../policy/actions.ts';
import { type ProfileDocument, readDocument } from '../../policy/document.ts';
import { ProblemList } from '../../policy/problem.ts';
import { checkSchema } from '../../policy/schema-problems.ts';
import type { Action, Arch } from '../../policy/types.ts';
import { errnoName, parametersOf, syscallNumber } from '../../tables/index.ts';
import { type CallRule, disjoint, hex, profileText, simplified } from './call-rules.ts';
import type { ImportOptions, ImportResult } from './oci.ts';

const uint = z.union([z.bigint(), z.number().int()]).transform((value) => BigInt.asUintN(64, BigInt(value)));

const argSchema = z.strictObject({
  index: uint.transform(Number),
  type: z.enum(['dword', 'qword']),
  op: z.union([z.enum(['eq', 'ne', 'lt', 'le', 'gt', 'ge']), z.strictObject({ masked_eq: uint })]),
  val: uint,
  comment: z.string().optional(),
});

const actionSchema = z.union([
  z.enum(['allow', 'log', 'trap', 'kill_process', 'kill_thread']),
  z.strictObject({ errno: uint }),
  z.strictObject({ trace: uint }),
]);

const classSchema = z.strictObject({
  default_action: actionSchema.optional(),
  mismatch_action: actionSchema.optional(),
  filter_action: actionSchema.optional(),
  match_action: actionSchema.optional(),
  filter: z.array(
    z.strictObject({
      syscall: z.string(),
      args: z.array(argSchema).nullish(),
      comment: z.string().nullish(),
    }),
  ),
});

const fileSchema = z.record(z.string(), classSchema);

type RawClass = z.infer<typeof classSchema>;
type RawArg = z.infer<typeof argSchema>;

/** Translates the text for one architecture. Throws PROFILE_INVALID with file, line and column of everything that is wrong. */
export function importFirecracker(text: string, { file, arch }: ImportOptions): ImportResult {
  const problems = new ProblemList();
  const losses: string[] = [];
  const document = readDocument(text, file, problems, { bigints: true });
  const raw = document && checkSchema(document, fileSchema, problems);
  const classes = Object.entries(raw ?? {}).map(([name, value]) =>
    readClass(name, value, { document: document as ProfileDocument, arch, losses, problems }),
  );
  if (raw !== undefined && classes.length === 0)
    problems.add({ file, line: 1, column: 1 }, 'missing-key', 'there is no thread class, such as "vmm" or "vcpu"');
  problems.throwIfAny();
  const [only] = classes;
  if (only !== undefined && classes.length === 1)
    return { profileText: profileText(file, { otherwise: only.otherwise }, only.rules), losses };
  const roles = Object.fromEntries(
    classes.map(({ name, otherwise, rules }) => [
      name,
      { otherwise, rules, why: `the thread class ${name} of ${file}` },
    ]),
  );
  const open = classes.find(({ otherwise }) => letsThrough(otherwise));
  if (open !== undefined) {
    losses.push(
      `threads without a role may do anything, as those of the class ${open.name} may unless it says otherwise`,
    );
    return { profileText: profileText(file, { otherwise: open.otherwise }, [], roles), losses };
  }
  losses.push('threads without a role may do what any class may; in the source each thread installs its own filter');
  return {
    profileText: profileText(file, { otherwise: mildest(classes) }, unite(classes, arch, losses), roles),
    losses,
  };
}

interface ThreadClass {
  readonly name: string;
  readonly otherwise: Action;
  readonly rules: readonly CallRule[];
}

/** A role can only be stricter than its stage. */
function mildest(classes: readonly ThreadClass[]): Action {
  const order = ['errno', 'trap', 'kill-thread', 'kill-process'];
  const actions = classes.map(({ otherwise }) => otherwise);
  return actions.reduce((best, action) => (order.indexOf(action.kind) < order.indexOf(best.kind) ? action : best));
}

function unite(classes: readonly ThreadClass[], arch: Arch, losses: string[]): readonly CallRule[] {
  const byCall = new Map<string, CallRule[]>();
  for (const { rules } of classes)
    for (const rule of rules) byCall.set(rule.name, [...(byCall.get(rule.name) ?? []), rule]);
  return [...byCall].flatMap(([name, rules]) => disjoint(name, rules, { arch, losses }));
}

interface ClassContext {
  readonly document: ProfileDocument;
  readonly arch: Arch;
  readonly losses: string[];
  readonly problems: ProblemList;
}

function readClass(written: string, raw: RawClass, context: ClassContext): ThreadClass {
  const { document, arch, losses, problems } = context;
  const name = written.toLowerCase().replace(/[^a-z0-9]+/g, '-');
  const action = (
    keys: readonly ('default_action' | 'mismatch_action' | 'filter_action' | 'match_action')[],
  ): Action => {
    const given = keys.filter((key) => raw[key] !== undefined);
    const [key] = given;
    if (key === undefined || given.length > 1) {
      const found = given.length === 0 ? 'is missing' : 'stands there in both spellings';
      problems.add(document.at([written]), 'missing-key', `${keys.join(' or ')} ${found}`);
      return { kind: 'kill-process' };
    }
    const at = document.at([written, key]);
    return actionOf(raw[key], `${at.file}:${at.line}`, losses);
  };
  const otherwise = action(['default_action', 'mismatch_action']);
  const matched = action(['filter_action', 'match_action']);
  const byCall = new Map<string, CallRule[]>();
  for (const [index, entry] of raw.filter.entries()) {
    const { file, line } = document.at([written, 'filter', index]);
    const where = `${file}:${line}`;
    if (sameAction(matched, otherwise)) continue;
    if (syscallNumber(arch, entry.syscall) === undefined) {
      losses.push(`${where}: ${entry.syscall} is no system call of ${arch}, left out`);
      continue;
    }
    const comments = [entry.comment, ...(entry.args ?? []).map(({ comment }) => comment)].filter((text) => text);
    const why = comments.length === 0 ? `from ${where}` : `${comments.join('; ')} (${where})`;
    const rule = ruleFor(entry.syscall, entry.args ?? [], { action: matched, why, where }, context);
    if (rule !== undefined) byCall.set(entry.syscall, [...(byCall.get(entry.syscall) ?? []), rule]);
  }
  return { name, otherwise, rules: [...byCall].flatMap(([call, rules]) => disjoint(call, rules, { arch, losses })) };
}

function ruleFor(
  name: string,
  args: readonly RawArg[],
  rule: { readonly action: Action; readonly why: string; readonly where: string },
  { arch, losses }: ClassContext,
): CallRule | undefined {
  const { action, why, where } = rule;
  if (args.length === 0) return { name, action, why, when: undefined };
  const texts = args.map((arg) => testText(arg, name, arch));
  const bad = texts.indexOf(undefined);
  // What cannot be tested is not permitted, and a refusal that cannot be restricted holds always.
  if (bad >= 0) {
    const permits = letsThrough(action);
    losses.push(
      `${where}: ${name} has no argument ${args[bad]?.index}; ${permits ? 'left out' : 'it holds for all arguments'}`,
    );
    return permits ? undefined : { name, action, why, when: undefined };
  }
  const when = simplified(texts.join(' and '), { arch, syscall: name });
  if (when === 'never') {
    losses.push(`${where}: the test of ${name} can never hold, left out`);
    return undefined;
  }
  return { name, action, why, when: when === 'always' ? undefined : when };
}

const operators: Readonly<Record<string, string>> = { eq: '==', ne: '!=', lt: '<', le: '<=', gt: '>', ge: '>=' };

function testText({ index, type, op, val }: RawArg, syscall: string, arch: Arch): string | undefined {
  const parameter = parametersOf(arch, syscall)[index];
  if (parameter === undefined) return undefined;
  const width = type === 'dword' ? 'low32' : 'full64';
  const name = parameter.names[0];
  const argument = parameter.width === width ? name : `${type === 'dword' ? 'u32' : 'u64'}(${name})`;
  const ones = type === 'dword' ? 0xffff_ffffn : 0xffff_ffff_ffff_ffffn;
  if (typeof op === 'object') {
    const mask = op.masked_eq & ones;
    const value = val & ones;
    if (mask === 0n) return value === 0n ? `${argument} >= 0` : `${argument} < 0`;
    // A value with bits outside of the mask is met by nothing.
    return (value & ~mask) === 0n ? `(${argument} & ${hex(mask)}) == ${hex(value)}` : `${argument} < 0`;
  }
  return `${argument} ${operators[op]} ${hex(val & ones)}`;
}

function actionOf(raw: RawClass['default_action'], where: string, losses: string[]): Action {
  if (typeof raw !== 'object') {
    const kind = (raw ?? 'kill_process').replace('_', '-');
    return { kind: kind as 'allow' | 'log' | 'trap' | 'kill-process' | 'kill-thread' };
  }
  if ('trace' in raw) return { kind: 'trace', data: Number(raw.trace & 0xffffn) };
  const errno = Number(raw.errno);
  if (errnoName(errno) !== undefined) return { kind: 'errno', errno, quiet: false };
  losses.push(`${where}: errno ${errno} has no name, EPERM was taken`);
  return { kind: 'errno', errno: 1, quiet: false };
}
