// SPDX-License-Identifier: Apache-2.0
// What only the kernel knows of: kills by a filter, and refusals of a role's filter where that was installed with SECCOMP_FILTER_FLAG_LOG. Its audit
// records tell, where they may be read.
import { AuditReader } from '../audit/reader.ts';
import type { AuditRecord } from '../audit/record.ts';
import { deferred, withDeadline } from '../deferred.ts';
import { evaluate } from '../policy/index.ts';
import type { ResolvedStage, Rule } from '../policy/types.ts';
import { errnoName, syscallName } from '../tables/index.ts';
import type { EventStream } from './events.ts';
import { explainKill, type KillExplanation } from './explain-kill.ts';

/** How long the kernel may take to write down a kill: its record is queued before the process dies, and delivered by a thread of its own. */
const recordMs = 1000;

/** SECCOMP_RET_* without their data. */
const returned = { killProcess: 0x8000_0000, killThread: 0, trap: 0x0003_0000, errno: 0x0005_0000 };

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
        return;
      }
      case returned.errno:
        this.#tellOfRole(record);
    }
  }

  /** The record has no arguments and no thread id: which role it was follows from what the call is refused to. */
  #tellOfRole({ nr, thread, auditArch }: AuditRecord): void {
    const stage = this.#stage();
    const call = { nr, auditArch, args: [0n, 0n, 0n, 0n, 0n, 0n] as const };
    for (const [role, policy] of Object.entries(stage.roles)) {
      const entry = policy.syscalls.find((each) => each.nr === nr);
      const rule = entry?.rules.find(isTold) ?? entry?.otherwiseRule;
      const action = rule?.action ?? evaluate(policy, call).action;
      if (action.kind !== 'errno' || action.quiet) continue;
      const syscall = syscallName(policy.arch, nr) ?? `syscall ${nr}`;
      this.#events.emit('refusal', {
        stage: stage.name,
        door: 'kernel',
        tid: 0,
        thread,
        role,
        syscall,
        args: {},
        errno: errnoName(action.errno) ?? String(action.errno),
        rule: rule === undefined ? null : { file: rule.source.file, line: rule.source.line, why: rule.why },
        fix: `stage ${stage.name}: roles: { ${role}: { syscalls: [{ allow: [${syscall}], why: "..." }] } }`,
        allowedIn: stage.name,
        features: [],
      });
      return;
    }
  }
}

function isTold({ action }: Rule): boolean {
  return action.kind === 'errno' && !action.quiet;
}
