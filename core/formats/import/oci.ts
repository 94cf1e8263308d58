// SPDX-License-Identifier: Apache-2.0
// OCI runtime, Docker and Podman seccomp JSON as a ratchet profile. What cannot be said in the other language is never guessed:
// it is left out on the strict side, and reported.
//
// What the source means (as runc does it): entries with the default's own action do nothing; the arguments of one entry are all required, except
// when one index is tested twice, then each test is an entry of its own; entries of one call are alternatives; comparisons are on all 64 bits.

import { RatchetError } from '../../errors.ts';
import { sameAction } from '../../policy/actions.ts';
import { neverBrokered } from '../../policy/dangerous.ts';
import { type Path, readDocument } from '../../policy/document.ts';
import { ProblemList } from '../../policy/problem.ts';
import type { Action, Arch } from '../../policy/types.ts';
import { errnoName, parametersOf, syscallNumber } from '../../tables/index.ts';
import { type CallRule, disjoint, hex, profileText, simplified } from './call-rules.ts';
import { type OciArg, type OciEntry, type OciProfile, ociSchema } from './oci-schema.ts';

export interface ImportOptions {
  /** Name of the text in messages, and the source named in each rule. */
  readonly file: string;
  readonly arch: Arch;
  /** Capabilities the program will have (CAP_SYS_ADMIN...), for entries that depend on them. */
  readonly capabilities?: readonly string[];
}

export interface ImportResult {
  readonly profileText: string;
  /** What the profile does not say as the source did, one sentence each. */
  readonly losses: readonly string[];
}

/** Translates the text for one architecture. Throws PROFILE_INVALID when it is no seccomp profile. */
export function importOci(text: string, options: ImportOptions): ImportResult {
  const { source, lineOf } = readSource(text, options.file);
  const losses: string[] = [];
  reportGlobals(source, options.arch, losses);
  const fallback = actionOf(source.defaultAction, source.defaultErrnoRet ?? undefined, 'defaultAction', losses) ?? {
    kind: 'kill-process',
  };
  const missing = new Set<string>();
  const wideTests = { count: 0 };
  const calls = new Map<string, CallRule[]>();
  for (const [index, entry] of (source.syscalls ?? []).entries()) {
    const where = `entry ${index + 1} (line ${lineOf(index)})`;
    if (!applies(entry, options, where, losses)) continue;
    const action = actionOf(entry.action, entry.errnoRet ?? undefined, where, losses);
    if (action === undefined || sameAction(loud(action), loud(fallback))) continue;
    const from = `${options.file}:${lineOf(index)}, entry ${index + 1}`;
    const why = entry.comment ? `${entry.comment} (${from})` : `from ${from}`;
    for (const name of namesOf(entry)) {
      if (syscallNumber(options.arch, name) === undefined) missing.add(name);
      else {
        const rules = callRules(entry, { name, action, why, where }, options.arch, losses, wideTests);
        calls.set(name, [...(calls.get(name) ?? []), ...rules]);
      }
    }
  }
  if (missing.size > 0) losses.push(`not system calls of ${options.arch}, left out: ${[...missing].sort().join(', ')}`);
  if (wideTests.count > 0) {
    losses.push(
      `${wideTests.count} comparisons look at all 64 bits of arguments that the kernel takes as 32 bits, as the source does: write the argument without u64() to ignore the high half`,
    );
  }
  const rules = [...calls].flatMap(([name, list]) => disjoint(name, list, { arch: options.arch, losses }));
  return { profileText: profileText(options.file, { otherwise: fallback }, rules), losses };
}

interface Source {
  readonly source: OciProfile;
  /** Of an entry, by its place in `syscalls`. */
  readonly lineOf: (entry: number) => number;
}

function readSource(text: string, file: string): Source {
  const problems = new ProblemList();
  const document = readDocument(text, file, problems, { bigints: true });
  problems.throwIfAny();
  const value = document?.value;
  // A whole config.json has it under linux.seccomp, a Kubernetes SeccompProfile under spec.
  const path = [['linux', 'seccomp'], ['spec']].find((keys) => memberAt(value, keys) !== undefined) ?? [];
  const result = ociSchema.safeParse(memberAt(value, path));
  if (result.success) return { source: result.data, lineOf: (entry) => lineAt([...path, 'syscalls', entry]) };
  const [issue] = result.error.issues;
  const within = (issue?.path ?? []).map((step) => (typeof step === 'symbol' ? String(step) : step));
  throw new RatchetError(
    'PROFILE_INVALID',
    `${file}:${lineAt([...path, ...within])}: ${within.join('.') || 'the text'}: ${issue?.message ?? 'is no seccomp profile'}`,
    { next: 'give the seccomp JSON of an OCI runtime, Docker or Podman' },
  );

  function lineAt(place: Path): number {
    return document?.at(place).line ?? 1;
  }
}

function memberAt(value: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (at, key) =>
      at !== null && typeof at === 'object' && Object.hasOwn(at, key) ? (Reflect.get(at, key) ?? undefined) : undefined,
    value,
  );
}

const scmpArches: Readonly<Record<Arch, string>> = {
  x86_64: 'SCMP_ARCH_X86_64',
  aarch64: 'SCMP_ARCH_AARCH64',
  riscv64: 'SCMP_ARCH_RISCV64',
};

function reportGlobals(source: OciProfile, arch: Arch, losses: string[]): void {
  const own = scmpArches[arch];
  const mapped = source.archMap?.find(({ architecture }) => architecture === own)?.subArchitectures ?? [];
  const others = [...(source.architectures ?? []), ...mapped].filter((name) => name !== own);
  if (others.length > 0)
    losses.push(`calls of other architectures are killed, also those of ${[...new Set(others)].join(', ')}`);
  if (source.architectures && source.architectures.length > 0 && !source.architectures.includes(own)) {
    losses.push(`the source does not name ${own} among its architectures; its rules were taken for it all the same`);
  }
  for (const flag of source.flags ?? []) {
    if (flag !== 'SECCOMP_FILTER_FLAG_TSYNC') losses.push(`the flag ${flag} is not part of a profile`);
  }
  if (source.listenerPath) losses.push('listenerPath: notifications go to the broker instead');
}

/** As Docker and Podman do it: every `includes` must hold, no `excludes` may. */
function applies(
  entry: OciEntry,
  { arch, capabilities = [] }: ImportOptions,
  where: string,
  losses: string[],
): boolean {
  const { includes, excludes } = entry;
  const arches = { x86_64: ['amd64', 'x86_64'], aarch64: ['arm64', 'aarch64'], riscv64: ['riscv64'] }[arch];
  const isArch = (names: readonly string[]): boolean => names.some((name) => arches.includes(name));
  if (includes?.arches && includes.arches.length > 0 && !isArch(includes.arches)) return false;
  if (excludes?.arches && isArch(excludes.arches)) return false;
  if (includes?.caps && !includes.caps.every((cap) => capabilities.includes(cap))) return false;
  if (excludes?.caps?.some((cap) => capabilities.includes(cap))) return false;
  if (includes?.minKernel)
    losses.push(`${where}: taken over for every kernel, the source wants ${includes.minKernel} or later`);
  if (excludes?.minKernel) {
    losses.push(`${where}: left out, the source drops it from kernel ${excludes.minKernel} on`);
    return false;
  }
  return true;
}

function actionOf(name: string, errnoRet: bigint | undefined, where: string, losses: string[]): Action | undefined {
  switch (name) {
    case 'SCMP_ACT_ALLOW':
      return { kind: 'allow' };
    case 'SCMP_ACT_LOG':
      return { kind: 'log' };
    case 'SCMP_ACT_TRAP':
      return { kind: 'trap' };
    case 'SCMP_ACT_TRACE':
      return { kind: 'trace', data: Number((errnoRet ?? 1n) & 0xffffn) };
    case 'SCMP_ACT_NOTIFY':
      losses.push(`${where}: SCMP_ACT_NOTIFY became broker, which refuses what no broker rule grants`);
      return { kind: 'broker' };
    case 'SCMP_ACT_KILL':
    case 'SCMP_ACT_KILL_THREAD':
      return { kind: 'kill-thread' };
    case 'SCMP_ACT_KILL_PROCESS':
      return { kind: 'kill-process' };
    case 'SCMP_ACT_ERRNO': {
      const errno = Number(errnoRet ?? 1n);
      if (errnoName(errno) !== undefined) return { kind: 'errno', errno, quiet: false };
      losses.push(`${where}: errno ${errno} has no name, EPERM was taken`);
      return { kind: 'errno', errno: 1, quiet: false };
    }
    default:
      losses.push(`${where}: unknown action ${name}, left out`);
      return undefined;
  }
}

function loud(action: Action): Action {
  return action.kind === 'errno' ? { ...action, quiet: false } : action;
}

function namesOf(entry: OciEntry): readonly string[] {
  return [...new Set([...(entry.names ?? []), ...(entry.name ? [entry.name] : [])])];
}

/** The alternatives that one entry makes for one call. */
function callRules(
  entry: OciEntry,
  rule: { readonly name: string; readonly action: Action; readonly why: string; readonly where: string },
  arch: Arch,
  losses: string[],
  wideTests: { count: number },
): readonly CallRule[] {
  const { name, action, why, where } = rule;
  if (action.kind === 'broker' && neverBrokered.has(name)) {
    losses.push(`${where}: ${name} can never be brokered, left out`);
    return [];
  }
  const args = entry.args ?? [];
  if (args.length === 0) return [{ name, action, why, when: undefined }];
  const twice = new Set(args.map(({ index }) => index)).size < args.length;
  const alternatives = twice ? args.map((arg) => [arg]) : [args];
  return alternatives.flatMap((tests): readonly CallRule[] => {
    const texts = tests.map((test) => testText(test, name, arch));
    const bad = texts.indexOf(undefined);
    // What cannot be tested is not permitted, and a refusal that cannot be restricted holds always.
    if (bad >= 0) {
      const permits = action.kind === 'allow' || action.kind === 'log';
      losses.push(
        `${where}: ${name} has no test "${tests[bad]?.op}" of argument ${tests[bad]?.index}; ${permits ? 'left out' : 'it holds for all arguments'}`,
      );
      return permits ? [] : [{ name, action, why, when: undefined }];
    }
    const when = simplified(texts.join(' and '), { arch, syscall: name });
    if (when === 'never') {
      losses.push(`${where}: the test of ${name} can never hold, left out`);
      return [];
    }
    for (const { index, value, valueTwo, op } of tests)
      if (op === 'SCMP_CMP_MASKED_EQ' && (valueTwo & ~value) !== 0n)
        losses.push(
          `${where}: the value ${hex(valueTwo)} of argument ${index} has bits outside of the mask ${hex(value)}, which are ignored as libseccomp ignores them`,
        );
    wideTests.count += tests.filter(({ index }) => parametersOf(arch, name)[index]?.width === 'low32').length;
    return [{ name, action, why, when: when === 'always' ? undefined : when }];
  });
}

const operators: Readonly<Record<string, string>> = {
  SCMP_CMP_NE: '!=',
  SCMP_CMP_LT: '<',
  SCMP_CMP_LE: '<=',
  SCMP_CMP_EQ: '==',
  SCMP_CMP_GE: '>=',
  SCMP_CMP_GT: '>',
};

function testText({ index, value, valueTwo, op }: OciArg, syscall: string, arch: Arch): string | undefined {
  const parameter = parametersOf(arch, syscall)[index];
  if (parameter === undefined) return undefined;
  const argument = parameter.width === 'full64' ? parameter.names[0] : `u64(${parameter.names[0]})`;
  if (op === 'SCMP_CMP_MASKED_EQ') {
    // libseccomp takes those bits of the value that are in the mask (_db_node_mask_fixup).
    return value === 0n ? `${argument} >= 0` : `(${argument} & ${hex(value)}) == ${hex(valueTwo & value)}`;
  }
  const operator = operators[op];
  return operator === undefined ? undefined : `${argument} ${operator} ${hex(value)}`;
}
