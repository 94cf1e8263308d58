// SPDX-License-Identifier: Apache-2.0
// What the launcher grants while the VM runs, within what the profile lets it grant: counted, for a time, for some stages, until it is revoked.
import type { BrokerRequestKind, BrokerRule, PinnedHosts } from '../core/policy/types.ts';
import { type ParsedRule, parseRule } from './judge.ts';

export interface GrantTerms {
  readonly request: BrokerRequestKind;
  readonly target: string;
  /** How many attempts it permits, whatever becomes of them. Unbounded when absent. */
  readonly uses: number | undefined;
  readonly forMs: number | undefined;
  readonly throughEpoch: number;
  /** What ends it, in the launcher's words: shown, and nothing else. */
  readonly until: string | undefined;
}

export type GrantEnd = 'revoked' | 'used up' | 'expired' | 'ended with its stage';

export interface RuntimeGrant {
  readonly id: number;
  readonly terms: GrantTerms;
  readonly parsed: ParsedRule;
  readonly usesLeft: number | undefined;
  readonly leftMs: number | undefined;
}

interface Entry {
  readonly id: number;
  readonly terms: GrantTerms;
  readonly parsed: ParsedRule;
  readonly expiresMs: number | undefined;
  readonly timer: NodeJS.Timeout | undefined;
  usesLeft: number;
  /** What was begun under its last use goes on; what was begun under a revoked or expired one does not. */
  withdrawn: boolean;
}

/** A grant as the next broker takes it on. */
export interface KeptGrant {
  readonly id: number;
  readonly request: BrokerRequestKind;
  readonly target: string;
  readonly throughEpoch: number;
  readonly uses?: number | undefined;
  readonly forMs?: number | undefined;
  readonly until?: string | undefined;
  readonly usesLeft?: number | undefined;
  readonly expiresMs?: number | undefined;
}

export const maxRuntimeGrants = 256;

export class RuntimeGrants {
  readonly #entries = new Map<number, Entry>();
  readonly #byRule = new Map<BrokerRule, Entry>();
  readonly #onEnd: (grant: RuntimeGrant, end: GrantEnd) => void;
  readonly #nowMs: () => number;
  readonly #hosts: PinnedHosts;
  #nextId = 1;
  /** When one came or went, and before what that permits is done. */
  onChange: () => void = () => undefined;
  /** When one was used, and before what it permits is done. */
  onUse: () => void = () => undefined;

  /** The clock must be monotonic. `onEnd` comes once for each grant, after it has stopped to hold. */
  constructor(
    onEnd: (grant: RuntimeGrant, end: GrantEnd) => void,
    nowMs: () => number = () => performance.now(),
    hosts: PinnedHosts = {},
  ) {
    this.#hosts = hosts;
    this.#onEnd = onEnd;
    this.#nowMs = nowMs;
  }

  /** Too many that still hold. */
  get full(): boolean {
    this.#forgetUsedUp();
    return this.#entries.size >= maxRuntimeGrants;
  }

  /** @throws RatchetError ADDRESS_INVALID. */
  add(terms: GrantTerms): number {
    const id = this.#nextId++;
    const rule: BrokerRule = {
      request: terms.request,
      target: terms.target,
      refuseErrno: undefined,
      why: `granted while the VM runs${terms.until === undefined ? '' : `, until ${terms.until}`}`,
      source: { file: 'grant', line: id, column: 1 },
    };
    const { forMs } = terms;
    const entry: Entry = {
      id,
      terms,
      parsed: parseRule(rule, this.#hosts),
      expiresMs: forMs === undefined ? undefined : this.#nowMs() + forMs,
      timer: forMs === undefined ? undefined : setTimeout(() => this.#expire(id), forMs + 1).unref(),
      usesLeft: terms.uses ?? Number.POSITIVE_INFINITY,
      withdrawn: false,
    };
    this.#entries.set(id, entry);
    this.#byRule.set(rule, entry);
    this.onChange();
    return id;
  }

  /** The ids of this broker begin after those of the one before. */
  continueFrom(nextId: number): void {
    this.#nextId = Math.max(this.#nextId, nextId);
  }

  /** A grant of the broker before, with what is left of it. */
  restore(kept: KeptGrant): void {
    if (kept.usesLeft === 0) return;
    const { id, usesLeft, expiresMs } = kept;
    const { request, target, throughEpoch, uses, forMs, until } = kept;
    const left = expiresMs === undefined ? undefined : Math.max(0, expiresMs - this.#nowMs());
    if (left === 0) return;
    const next = Math.max(this.#nextId, id + 1);
    this.#nextId = id;
    this.add({ request, target, throughEpoch, uses, forMs: left, until });
    this.#nextId = next;
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    this.#entries.set(
      id,
      Object.assign(entry, { terms: { ...entry.terms, forMs }, usesLeft: usesLeft ?? entry.usesLeft }),
    );
  }

  /** For the journal. */
  keep(): { readonly nextGrant: number; readonly grants: KeptGrant[] } {
    const grants = [...this.#entries.values()].map(({ id, terms, usesLeft, expiresMs }) => ({
      id,
      ...withoutUndefined(terms),
      ...(usesLeft === Number.POSITIVE_INFINITY ? {} : { usesLeft: Math.max(0, usesLeft) }),
      ...(expiresMs === undefined ? {} : { expiresMs }),
    }));
    return { nextGrant: this.#nextId, grants };
  }

  /** False when there is no such grant, or none any more. */
  revoke(id: number): boolean {
    return this.#end(this.#entries.get(id), 'revoked');
  }

  enterEpoch(epoch: number): void {
    for (const entry of [...this.#entries.values()])
      if (entry.terms.throughEpoch < epoch) this.#end(entry, 'ended with its stage');
  }

  /** What holds now. */
  rules(): readonly ParsedRule[] {
    if (this.#entries.size === 0) return [];
    return [...this.#entries.values()].filter((entry) => this.#holds(entry)).map(({ parsed }) => parsed);
  }

  /** Uses up one attempt of the grant that this rule is; undefined when it is the profile's. `good` tells whether what was begun under it may go on. */
  take(rule: BrokerRule): { readonly parsed: ParsedRule; readonly good: () => boolean } | undefined {
    const entry = this.#byRule.get(rule);
    if (entry === undefined) return undefined;
    entry.usesLeft -= 1;
    this.onUse();
    // It stays, so that what is under way can still be revoked.
    if (entry.usesLeft <= 0) this.#onEnd(this.#describe(entry), 'used up');
    return { parsed: entry.parsed, good: () => !entry.withdrawn && !this.#isExpired(entry) };
  }

  list(): readonly RuntimeGrant[] {
    return [...this.#entries.values()].filter((entry) => !this.#isExpired(entry)).map((entry) => this.#describe(entry));
  }

  #expire(id: number): void {
    this.#end(this.#entries.get(id), 'expired');
  }

  #forgetUsedUp(): void {
    if (this.#entries.size < maxRuntimeGrants) return;
    for (const entry of [...this.#entries.values()]) {
      if (entry.usesLeft > 0) continue;
      // Nobody can end it any more by its number, its time or its stage: what is still under way, as a program may be, goes with it.
      entry.withdrawn = true;
      this.#forget(entry);
    }
  }

  #holds(entry: Entry): boolean {
    return entry.usesLeft > 0 && !this.#isExpired(entry);
  }

  #isExpired({ expiresMs }: Entry): boolean {
    return expiresMs !== undefined && this.#nowMs() >= expiresMs;
  }

  #end(entry: Entry | undefined, end: GrantEnd): boolean {
    if (entry === undefined) return false;
    entry.withdrawn = true;
    this.#forget(entry);
    this.onChange();
    this.#onEnd(this.#describe(entry), end);
    return true;
  }

  #forget(entry: Entry): void {
    clearTimeout(entry.timer);
    this.#entries.delete(entry.id);
    this.#byRule.delete(entry.parsed.rule);
  }

  #describe({ id, terms, parsed, usesLeft, expiresMs }: Entry): RuntimeGrant {
    return {
      id,
      terms,
      parsed,
      usesLeft: usesLeft === Number.POSITIVE_INFINITY ? undefined : usesLeft,
      leftMs: expiresMs === undefined ? undefined : Math.max(0, Math.round(expiresMs - this.#nowMs())),
    };
  }
}

function withoutUndefined(terms: GrantTerms): Omit<KeptGrant, 'id'> {
  const { uses, forMs, until, ...rest } = terms;
  return {
    ...rest,
    ...(uses === undefined ? {} : { uses }),
    ...(forMs === undefined ? {} : { forMs }),
    ...(until === undefined ? {} : { until }),
  };
}
