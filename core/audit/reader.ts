// SPDX-License-Identifier: Apache-2.0
import { type AuditRecord, parseAuditRecord } from './record.ts';
import { type AuditSource, openKernelLog, openNetlink } from './sources.ts';

/** The kernel stamps records by its coarse clock. */
const clockSlackMs = 100;

/** Reads the seccomp records of one process, from every source that is permitted, each record once. */
export class AuditReader {
  /** Where records come from, or why from nowhere. */
  readonly reason: string;
  readonly available: boolean;
  readonly #sources: readonly AuditSource[];
  readonly #pid: number;
  readonly #sinceMs: number;
  readonly #onRecord: (record: AuditRecord) => void;
  readonly #seen = new Set<string>();

  /** From now on, and from the kernel log what it still has from `startedMs` on (as Date.now() counts). */
  constructor(
    { pid, startedMs }: { readonly pid: number; readonly startedMs: number },
    onRecord: (record: AuditRecord) => void,
  ) {
    this.#pid = pid;
    this.#sinceMs = startedMs - clockSlackMs;
    this.#onRecord = onRecord;
    const opened = [openNetlink, openKernelLog].map((open) => open((text) => this.#accept(text)));
    this.#sources = opened.filter((source) => 'drain' in source);
    this.available = this.#sources.length > 0;
    const missing = opened.flatMap((source) => ('missing' in source ? [source.missing] : []));
    this.reason = this.available
      ? `read from ${this.#sources.map(({ name }) => name).join(' and ')}`
      : `the kernel's records cannot be read: netlink ${missing[0]} (needs CAP_AUDIT_READ), /dev/kmsg ${missing[1]} (needs CAP_SYSLOG, or kernel.dmesg_restrict=0)`;
  }

  /** Hands over what has come and not been read yet. */
  drain(): void {
    for (const source of this.#sources) source.drain();
  }

  close(): void {
    for (const source of this.#sources) source.close();
  }

  #accept(text: string): void {
    const record = parseAuditRecord(text);
    if (record === undefined || record.pid !== this.#pid) return;
    if (record.timeMs < this.#sinceMs || this.#seen.has(record.id)) return;
    this.#seen.add(record.id);
    this.#onRecord(record);
  }
}
