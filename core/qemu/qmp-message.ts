// SPDX-License-Identifier: Apache-2.0
// The wire form of QMP (docs/interop/qmp-spec.txt): one JSON object a line. QEMU is not trusted: it may be what is being contained.
import { z } from 'zod';
import { closedError, printable } from './qmp-error.ts';

export interface QmpEvent {
  readonly name: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface QemuVersion {
  readonly major: number;
  readonly minor: number;
  readonly micro: number;
}

export type QmpMessage =
  | { readonly kind: 'greeting'; readonly version: QemuVersion }
  | { readonly kind: 'return'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'error'; readonly id: number | undefined; readonly qmpClass: string; readonly description: string }
  | { readonly kind: 'event'; readonly event: QmpEvent };

/** Longer than the longest honest reply (query-qmp-schema: 200 KB in QEMU 7.2) and short enough for any launcher. */
export const maxMessageBytes = 4 * 1024 * 1024;

/** Splits a byte stream into lines, whatever the pieces in which it arrives. @throws RatchetError QMP_CLOSED when a line is too long. */
export class LineSplitter {
  readonly #maxBytes: number;
  #pieces: Buffer[] = [];
  #bytes = 0;

  constructor(maxBytes: number = maxMessageBytes) {
    this.#maxBytes = maxBytes;
  }

  push(chunk: Buffer): readonly Buffer[] {
    const lines: Buffer[] = [];
    let start = 0;
    for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, start)) {
      this.#add(chunk.subarray(start, end));
      lines.push(Buffer.concat(this.#pieces, this.#bytes));
      this.#pieces = [];
      this.#bytes = 0;
      start = end + 1;
    }
    this.#add(chunk.subarray(start));
    return lines;
  }

  #add(piece: Buffer): void {
    this.#bytes += piece.length;
    if (this.#bytes > this.#maxBytes)
      throw closedError(
        `QEMU's monitor sent a message of more than ${this.#maxBytes} bytes; it is not read any further`,
      );
    if (piece.length > 0) this.#pieces.push(piece);
  }
}

const versionNumber = z.number().int().nonnegative();
const greeting = z.object({
  QMP: z.object({
    version: z.object({ qemu: z.object({ major: versionNumber, minor: versionNumber, micro: versionNumber }) }),
  }),
});
const success = z.object({ return: z.unknown(), id: z.number() });
const failure = z.object({ error: z.object({ class: z.string(), desc: z.string() }), id: z.number().optional() });
const occurrence = z.object({ event: z.string(), data: z.record(z.string(), z.unknown()).optional() });

/** One line to one message; undefined for an empty line. @throws RatchetError QMP_CLOSED for anything that is not QMP. */
export function parseMessage(line: Buffer): QmpMessage | undefined {
  const text = line.toString('utf8').trim();
  if (text === '') return undefined;
  const value = parseJson(text);
  if (has(value, 'event')) {
    const { event, data } = check(occurrence, value, text);
    return { kind: 'event', event: { name: event, data: data ?? {} } };
  }
  if (has(value, 'return')) {
    const { id, return: result } = check(success, value, text);
    return { kind: 'return', id, value: result };
  }
  if (has(value, 'error')) {
    const { id, error } = check(failure, value, text);
    return { kind: 'error', id, qmpClass: printable(error.class), description: printable(error.desc) };
  }
  return { kind: 'greeting', version: check(greeting, value, text).QMP.version.qemu };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw notQmp(text, cause);
  }
}

function check<T>(schema: z.ZodType<T>, value: unknown, text: string): T {
  const result = schema.safeParse(value);
  if (!result.success) throw notQmp(text, result.error);
  return result.data;
}

function has(value: unknown, key: string): boolean {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, key);
}

function notQmp(text: string, cause: unknown): Error {
  const shown = 80;
  return closedError(`QEMU's monitor sent something that is not QMP: ${printable(text.slice(0, shown))}`, cause);
}
