// SPDX-License-Identifier: Apache-2.0
// Recorded calls as people keep them in a file beside a profile: names of system calls, arguments and constants. The file steers how fast a
// program is and never what it decides, so a recording of another architecture still helps: names that it does not have are left out.

import { z } from 'zod';
import { RatchetError } from '../errors.ts';
import type { Arch } from '../policy/types.ts';
import { archesWith, constantValue, parameterOf, syscallNumber } from '../tables/index.ts';
import type { CallCounts } from './weights.ts';

const count = z.int().nonnegative();

const syscallsSchema = z.record(
  z.string(),
  z.strictObject({
    count,
    /** By argument, then value: a constant's name, a decimal number or 0x and hexadecimal digits. */
    arguments: z.record(z.string(), z.record(z.string(), count)).optional(),
  }),
);

export const countsSchema = z.strictObject({
  version: z.literal(1),
  arch: z.enum(['x86_64', 'aarch64', 'riscv64']),
  /** How the calls were recorded, for people. */
  recorded: z.string().min(1),
  /** Those of all threads. */
  syscalls: syscallsSchema,
  /** By stage, those made from its start on: the calls that its filter runs for. */
  stages: z.record(z.string(), syscallsSchema).optional(),
  /** By role, those of its threads. */
  roles: z.record(z.string(), syscallsSchema).optional(),
});

export type CountsDocument = z.infer<typeof countsSchema>;

/** Calls by name, of all threads or of a role's. */
export type CountedSyscalls = CountsDocument['syscalls'];

/** Reads a counts file's text. Throws PROFILE_INVALID naming the file and the place in it. */
export function parseCounts(text: string, file: string): CountsDocument {
  const parsed = countsSchema.safeParse(parseJson(text, file));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw invalid(file, `${issue?.path.join('.') || 'the file'}: ${issue?.message}`);
}

/** The counts by number, for the compiler. */
export interface ResolvedCounts {
  readonly counts: CallCounts;
  /** From the start of each stage on, where that was recorded. */
  readonly stageCounts: Readonly<Record<string, CallCounts>>;
  /** Those of the threads of each role that was recorded. */
  readonly roleCounts: Readonly<Record<string, CallCounts>>;
}

/** Throws PROFILE_INVALID on a name that no architecture has. */
export function resolveCounts(document: CountsDocument, arch: Arch, file: string): ResolvedCounts {
  const resolve = (syscalls: CountedSyscalls): CallCounts => resolveSyscalls(syscalls, document.arch, arch, file);
  return {
    counts: resolve(document.syscalls),
    stageCounts: mapValues(document.stages, resolve),
    roleCounts: mapValues(document.roles, resolve),
  };
}

function mapValues<From, To>(
  record: Readonly<Record<string, From>> | undefined,
  convert: (value: From) => To,
): Readonly<Record<string, To>> {
  return Object.fromEntries(Object.entries(record ?? {}).map(([key, value]) => [key, convert(value)]));
}

function resolveSyscalls(syscalls: CountedSyscalls, recordedOn: Arch, arch: Arch, file: string): CallCounts {
  const calls = new Map<number, number>();
  const values = new Map<number, Map<number, Map<bigint, number>>>();
  for (const [name, entry] of Object.entries(syscalls)) {
    const nr = syscallNumber(arch, name);
    if (nr === undefined) {
      if (archesWith(name).length === 0) throw invalid(file, `there is no system call ${name}`);
      continue;
    }
    calls.set(nr, entry.count);
    const byArgument = new Map<number, Map<bigint, number>>();
    for (const [argument, seen] of Object.entries(entry.arguments ?? {})) {
      const parameter = parameterOf(arch, name, argument);
      if (parameter === undefined) throw invalid(file, `${name} has no argument ${argument}`);
      byArgument.set(parameter.index, resolveValues(seen, arch, recordedOn, file));
    }
    if (byArgument.size > 0) values.set(nr, byArgument);
  }
  return { calls, values };
}

function resolveValues(
  seen: Readonly<Record<string, number>>,
  arch: Arch,
  recordedOn: Arch,
  file: string,
): Map<bigint, number> {
  const values = new Map<bigint, number>();
  for (const [text, times] of Object.entries(seen)) {
    const value = /^(0x[0-9a-f]+|\d+)$/.test(text) ? BigInt(text) : constantValue(arch, text);
    if (value === undefined) {
      if (constantValue(recordedOn, text) === undefined) throw invalid(file, `there is no constant ${text}`);
      continue;
    }
    const register = BigInt.asUintN(64, value);
    values.set(register, (values.get(register) ?? 0) + times);
  }
  return values;
}

function parseJson(text: string, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw invalid(file, cause instanceof Error ? cause.message : 'it is not JSON');
  }
}

function invalid(file: string, what: string): RatchetError {
  return new RatchetError('PROFILE_INVALID', `${file}: ${what}`, {
    next: 'record the counts again, or remove the file: it only makes filters faster',
  });
}
