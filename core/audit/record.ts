// SPDX-License-Identifier: Apache-2.0

/** What the kernel writes down when a seccomp filter kills, logs, or refuses under SECCOMP_FILTER_FLAG_LOG (kernel/auditsc.c, audit_seccomp). */
export interface AuditRecord {
  /** `TIME:SERIAL`, the same wherever the record is read. */
  readonly id: string;
  /** As Date.now() counts. */
  readonly timeMs: number;
  /** The process, in the first pid namespace. The kernel names no thread but by its name. */
  readonly pid: number;
  readonly thread: string;
  readonly auditArch: number;
  readonly nr: number;
  readonly instructionPointer: string;
  /** The filter's return value, its data cut off. */
  readonly action: number;
}

/** Reads the text of a record, `audit(TIME:SERIAL): key=value ...`; undefined when it is another kind's. */
export function parseAuditRecord(text: string): AuditRecord | undefined {
  const id = /\baudit\((\d+\.\d+:\d+)\): /.exec(text)?.[1];
  const field = (name: string): string | undefined => new RegExp(` ${name}=("[^"]*"|\\S+)`).exec(text)?.[1];
  const [pid, arch, nr, code] = [field('pid'), field('arch'), field('syscall'), field('code')];
  if (id === undefined || pid === undefined || arch === undefined || nr === undefined || code === undefined)
    return undefined;
  return {
    id,
    timeMs: Number.parseFloat(id) * 1000,
    pid: Number(pid),
    thread: threadName(field('comm') ?? ''),
    auditArch: Number.parseInt(arch, 16),
    nr: Number(nr),
    instructionPointer: field('ip') ?? '',
    action: Number.parseInt(code, 16) >>> 0,
  };
}

/** In quotes, or in hexadecimal where it has a character that does not go between quotes. */
function threadName(written: string): string {
  return written.startsWith('"') ? written.slice(1, -1) : Buffer.from(written, 'hex').toString('utf8');
}
