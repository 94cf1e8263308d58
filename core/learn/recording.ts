// SPDX-License-Identifier: Apache-2.0
// Calls that were seen, added up: the same call with the same arguments counts, and only arguments that a rule could test are kept.

import { argumentsOf } from '../policy/conditions.ts';
import type { ResolvedProfile } from '../policy/types.ts';
import { hasNamedValues, parametersOf, syscallNumber } from '../tables/index.ts';
import type { TracedCall } from './strace.ts';

/** Calls of one name with the same values in all arguments that matter; the others are undefined. */
export interface SeenCall {
  readonly name: string;
  readonly nr: number;
  readonly args: readonly (bigint | undefined)[];
  readonly count: number;
}

export class Recording {
  readonly #kept: (name: string) => readonly number[];
  readonly #seen = new Map<string, { call: Omit<SeenCall, 'count'>; count: number }>();
  readonly #threads = new Set<number>();
  readonly #profile: ResolvedProfile;
  #calls = 0;

  constructor(profile: ResolvedProfile) {
    this.#profile = profile;
    this.#kept = interestingArguments(profile);
  }

  /** Calls that the profile's architecture does not have are left out. */
  add({ name, args, tid }: TracedCall): void {
    const nr = syscallNumber(this.#profile.arch, name);
    if (nr === undefined) return;
    this.#calls++;
    if (tid !== undefined) this.#threads.add(tid);
    const kept: (bigint | undefined)[] = [];
    for (const index of this.#kept(name)) kept[index] = args[index];
    const whole = Array.from({ length: 6 }, (_, index) => kept[index]);
    const key = `${name} ${whole.join(',')}`;
    const entry = this.#seen.get(key) ?? { call: { name, nr, args: whole }, count: 0 };
    entry.count++;
    this.#seen.set(key, entry);
  }

  get seen(): readonly SeenCall[] {
    return [...this.#seen.values()].map(({ call, count }) => ({ ...call, count }));
  }

  get calls(): number {
    return this.#calls;
  }

  get threads(): number {
    return this.#threads.size;
  }

  /** One by one again, for a counts file. */
  *replay(): Generator<{ name: string; args: readonly (bigint | undefined)[] }> {
    for (const { call, count } of this.#seen.values()) for (let n = 0; n < count; n++) yield call;
  }
}

function interestingArguments(profile: ResolvedProfile): (name: string) => readonly number[] {
  const tested = new Map<string, Set<number>>();
  for (const { filter, roles } of profile.stages)
    for (const { syscalls } of [filter, ...Object.values(roles)])
      for (const { name, rules } of syscalls) {
        const indexes = tested.get(name) ?? new Set<number>();
        tested.set(name, indexes);
        for (const { when } of rules) for (const arg of argumentsOf(when)) indexes.add(arg);
      }
  const known = new Map<string, readonly number[]>();
  return (name) => {
    const before = known.get(name);
    if (before !== undefined) return before;
    const named = parametersOf(profile.arch, name)
      .map(({ index }) => index)
      .filter((index) => hasNamedValues(profile.arch, name, index));
    const all = [...new Set([...(tested.get(name) ?? []), ...named])];
    known.set(name, all);
    return all;
  };
}
