// SPDX-License-Identifier: Apache-2.0
// From calls to a counts file: how often each was made, and the values of the arguments that a profile's rules look at.

import { argumentsOf } from '../policy/conditions.ts';
import type { Arch, ResolvedProfile } from '../policy/types.ts';
import { constantValue, type Parameter, parametersOf, syscallNumber } from '../tables/index.ts';
import type { CountedSyscalls, CountsDocument } from './counts.ts';

/** One call as it entered the kernel. */
export interface RecordedCall {
  readonly name: string;
  /** The registers; a tracer leaves out those that the call does not have, and those that it shows as text are undefined. */
  readonly args: readonly (bigint | undefined)[];
  /** The last stage of the profile that had begun; the first one when it is not known. */
  readonly stage?: string | undefined;
  /** That of the thread that made it. */
  readonly role?: string | undefined;
}

export interface CountOptions {
  readonly profile: ResolvedProfile;
  /** How the calls were recorded, for people. */
  readonly recorded: string;
}

/** The calls of all threads, and once more those from each later stage on and those of each role. */
export function countCalls(calls: Iterable<RecordedCall>, { profile, recorded }: CountOptions): CountsDocument {
  const all = [...calls];
  const order = profile.stages.map(({ name }) => name);
  const reached = order.filter((name, index) => index > 0 && all.some(({ stage }) => stage === name));
  const stages = reached.map((name): [string, CountedSyscalls] => {
    const later = new Set(order.slice(order.indexOf(name)));
    return [
      name,
      countSyscalls(
        all.filter(({ stage }) => stage !== undefined && later.has(stage)),
        profile,
      ),
    ];
  });
  const roles = [...new Set(all.flatMap(({ role }) => role ?? []))].map((name): [string, CountedSyscalls] => [
    name,
    countSyscalls(
      all.filter(({ role }) => role === name),
      profile,
    ),
  ]);
  return {
    version: 1,
    arch: profile.arch,
    recorded,
    syscalls: countSyscalls(all, profile),
    ...(stages.length === 0 ? {} : { stages: Object.fromEntries(stages) }),
    ...(roles.length === 0 ? {} : { roles: Object.fromEntries(roles) }),
  };
}

/** Frequent first, so that a person sees what matters. Values that are named in the profile's rules keep that name. */
function countSyscalls(calls: readonly RecordedCall[], profile: ResolvedProfile): CountedSyscalls {
  const { arch } = profile;
  const interesting = interestingArguments(profile);
  const counted = new Map<string, { count: number; values: Map<number, Map<bigint, number>> }>();
  for (const { name, args } of calls) {
    const entry = counted.get(name) ?? { count: 0, values: new Map<number, Map<bigint, number>>() };
    counted.set(name, entry);
    entry.count++;
    for (const parameter of interesting.get(name)?.parameters ?? []) {
      const register = args[parameter.index];
      if (register === undefined) continue;
      const value = parameter.width === 'low32' ? BigInt.asUintN(32, register) : register;
      const seen = entry.values.get(parameter.index) ?? new Map<bigint, number>();
      entry.values.set(parameter.index, seen.set(value, (seen.get(value) ?? 0) + 1));
    }
  }
  const rows = [...counted]
    .filter(([name]) => syscallNumber(arch, name) !== undefined)
    .sort(([a, { count }], [b, { count: other }]) => other - count || (a < b ? -1 : 1))
    .map(([name, { count, values }]) => {
      const parameters = (interesting.get(name)?.parameters ?? []).filter(({ index }) => values.has(index));
      if (parameters.length === 0) return [name, { count }] as const;
      const named = parameters.map((parameter) => [
        parameter.names[0] ?? `arg${parameter.index}`,
        showValues(
          values.get(parameter.index) ?? new Map(),
          parameter,
          arch,
          interesting.get(name)?.words ?? new Set(),
        ),
      ]);
      return [name, { count, arguments: Object.fromEntries(named) }] as const;
    });
  return Object.fromEntries(rows);
}

/** Several recordings as one, each call weighing the same. */
export function addCounts(documents: readonly CountsDocument[], recorded: string): CountsDocument {
  const [first] = documents;
  if (first === undefined) throw new RangeError('there is nothing to add');
  const byName = (key: 'stages' | 'roles'): Pick<CountsDocument, 'stages' | 'roles'> => {
    const names = [...new Set(documents.flatMap((document) => Object.keys(document[key] ?? {})))];
    const sums = names.map((name) => [name, addSyscalls(documents.map((document) => document[key]?.[name] ?? {}))]);
    return names.length === 0 ? {} : { [key]: Object.fromEntries(sums) };
  };
  return {
    version: 1,
    arch: first.arch,
    recorded,
    syscalls: addSyscalls(documents.map(({ syscalls }) => syscalls)),
    ...byName('stages'),
    ...byName('roles'),
  };
}

function addSyscalls(recordings: readonly CountedSyscalls[]): CountedSyscalls {
  const names = new Set(recordings.flatMap((syscalls) => Object.keys(syscalls)));
  const rows = [...names].map((name) => {
    const entries = recordings.flatMap((syscalls) => syscalls[name] ?? []);
    const count = entries.reduce((sum, entry) => sum + entry.count, 0);
    const args: Record<string, Record<string, number>> = {};
    for (const entry of entries)
      for (const [argument, seen] of Object.entries(entry.arguments ?? {}))
        for (const [value, times] of Object.entries(seen)) {
          const sums = args[argument] ?? {};
          args[argument] = sums;
          sums[value] = (sums[value] ?? 0) + times;
        }
    const sorted = Object.entries(args).map(([argument, seen]) => [argument, frequentFirst(seen)]);
    return [name, { count, ...(sorted.length === 0 ? {} : { arguments: Object.fromEntries(sorted) }) }] as const;
  });
  rows.sort(([a, { count }], [b, { count: other }]) => other - count || (a < b ? -1 : 1));
  return Object.fromEntries(rows);
}

interface Interesting {
  readonly parameters: readonly Parameter[];
  /** Words of the rules' conditions, among which are the constants. */
  readonly words: ReadonlySet<string>;
}

function interestingArguments(profile: ResolvedProfile): ReadonlyMap<string, Interesting> {
  const found = new Map<string, { args: Set<number>; words: Set<string> }>();
  for (const stage of profile.stages)
    for (const { syscalls } of [stage.filter, ...Object.values(stage.roles)])
      for (const { name, rules } of syscalls) {
        const entry = found.get(name) ?? { args: new Set<number>(), words: new Set<string>() };
        found.set(name, entry);
        for (const { when, whenText } of rules) {
          for (const arg of argumentsOf(when)) entry.args.add(arg);
          for (const word of whenText.match(/[A-Z_][A-Z0-9_]*/g) ?? []) entry.words.add(word);
        }
      }
  return new Map(
    [...found].map(([name, { args, words }]) => {
      const parameters = parametersOf(profile.arch, name).filter(({ index }) => args.has(index));
      return [name, { parameters, words }];
    }),
  );
}

function showValues(
  values: ReadonlyMap<bigint, number>,
  { width }: Parameter,
  arch: Arch,
  words: ReadonlySet<string>,
): Record<string, number> {
  const names = new Map<bigint, string>();
  for (const word of words) {
    const value = constantValue(arch, word);
    const register = value === undefined ? undefined : BigInt.asUintN(width === 'low32' ? 32 : 64, value);
    // NULL and other names of zero say nothing where a zero is just a number.
    if (register !== undefined && register !== 0n && !names.has(register)) names.set(register, word);
  }
  return frequentFirst(
    Object.fromEntries([...values].map(([value, times]) => [names.get(value) ?? showNumber(value), times])),
  );
}

function frequentFirst(seen: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(seen).sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1)));
}

function showNumber(value: bigint): string {
  return value < 10n ? value.toString() : `0x${value.toString(16)}`;
}
