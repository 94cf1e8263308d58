// SPDX-License-Identifier: Apache-2.0
import { startTimeOf } from '../stages/start-time.ts';

/**
 * Which thread of a process has which role, and which were given its filters. The VMM names its threads itself, and may lie once a guest has taken
 * it over. So a thread that was given a role keeps it, whatever the VMM says of it later.
 */
export class ThreadRoles {
  readonly #pid: number;
  readonly #ask: () => Promise<ReadonlyMap<number, string>>;
  readonly #given = new Map<number, { readonly role: string; readonly startTime: string | undefined }>();

  #labels: ReadonlyMap<number, string> = new Map();
  #asking: Promise<ReadonlyMap<number, string>> | undefined;

  constructor(pid: number, ask: () => Promise<ReadonlyMap<number, string>>) {
    this.#pid = pid;
    this.#ask = ask;
  }

  /** Threads that have a role, by id. @throws when the VMM does not answer and no thread was given a role yet. */
  async named(): Promise<ReadonlyMap<number, string>> {
    const given = this.#living();
    // Who asks while a question is under way shares its answer: a stage change asks for its filters and for its report.
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined;
    });
    const asked = await this.#asking.catch((error: unknown) => {
      if (given.size === 0) throw error;
      return new Map<number, string>();
    });
    return new Map([...asked, ...given]);
  }

  /** The same for people to read; the leader is the main thread even where the VMM does not answer. */
  async labels(): Promise<ReadonlyMap<number, string>> {
    const named = await this.named().catch(() => new Map<number, string>());
    this.#labels = new Map([[this.#pid, 'main'], ...named]);
    return this.#labels;
  }

  /** What a thread was when that was last asked, without asking: an event must not wait for a VMM that may be busy. */
  lastKnown(tid: number): string {
    return this.#labels.get(tid) ?? (tid === this.#pid ? 'main' : 'worker');
  }

  get given(): ReadonlySet<number> {
    return new Set(this.#living().keys());
  }

  /** Threads that were given a role, and live. */
  get living(): ReadonlyMap<number, string> {
    return this.#living();
  }

  /** These threads with when each began, in clock ticks since boot; without those that are gone. */
  began(roles: ReadonlyMap<number, string>): [tid: number, started: number, role: string][] {
    return [...roles].flatMap(([tid, role]): [number, number, string][] => {
      const started = startTimeOf(this.#pid, tid);
      return started === undefined ? [] : [[tid, Number(started), role]];
    });
  }

  give(tid: number, role: string): void {
    this.#given.set(tid, { role, startTime: startTimeOf(this.#pid, tid) });
  }

  #living(): Map<number, string> {
    for (const [tid, { startTime }] of this.#given)
      if (startTime === undefined || startTimeOf(this.#pid, tid) !== startTime) this.#given.delete(tid);
    return new Map([...this.#given].map(([tid, { role }]) => [tid, role]));
  }
}
