// SPDX-License-Identifier: Apache-2.0
// What only the kernel knows of: kills by a filter. Its audit records tell, where they may be read.
import { AuditReader } from '../audit/reader.ts';
import type { AuditRecord } from '../audit/record.ts';
import { deferred, withDeadline } from '../deferred.ts';
import type { ResolvedStage } from '../policy/types.ts';
import type { EventStream } from './events.ts';
import { explainKill, type KillExplanation } from './explain-kill.ts';

/** How long the kernel may take to write down a kill: its record is queued before the process dies, and delivered by a thread of its own. */
const recordMs = 1000;

/** SECCOMP_RET_* without their data. */
const returned = { killProcess: 0x8000_0000, killThread: 0, trap: 0x0003_0000 };

export class KernelRecords {
  readonly #reader: AuditReader;
  readonly #stage: () => ResolvedStage;
  readonly #events: EventStream;
  readonly #death = deferred<AuditRecord>();

  /** @param startedMs when the process was started: what is older is about another with its number. */
  constructor(options: {
    readonly pid: number;
    readonly startedMs: number;
    readonly stage: () => ResolvedStage;
    readonly events: EventStream;
  }) {
    this.#stage = options.stage;
    this.#events = options.events;
    this.#reader = new AuditReader(options, (record) => this.#accept(record));
  }

  get available(): boolean {
    return this.#reader.available;
  }

  /** Where records are read from, or why they are not. */
  get reason(): string {
    return this.#reader.reason;
  }

  /** After a death by SIGSYS. */
  async explainDeath(): Promise<KillExplanation> {
    if (!this.available) return explainKill(this.#stage(), undefined, this.reason);
    this.#reader.drain();
    const record = await withDeadline(this.#death.promise, recordMs, () => new Error('no record')).catch(
      () => undefined,
    );
    return explainKill(this.#stage(), record, `${this.reason}, and there was no record of it`);
  }

  close(): void {
    this.#reader.close();
  }

  #accept(record: AuditRecord): void {
    switch (record.action) {
      case returned.killProcess:
      case returned.trap:
        this.#death.resolve(record);
        return;
      case returned.killThread: {
        const explained = explainKill(this.#stage(), record, '');
        this.#events.emit('violation', { stage: this.#stage().name, what: 'thread-killed', ...explained });
      }
    }
  }
}
