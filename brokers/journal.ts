// SPDX-License-Identifier: Apache-2.0
// What the next broker must know when this one dies in the middle of something: memory shared with it through a memfd that the launcher keeps. Written
// before what it tells of is done, so that nothing that happens once happens twice. Two slots for the snapshot: a half-written one is never read.
import { z } from 'zod';
import { journalBytes } from '../core/broker/protocol.ts';

const at = {
  receivedAny: 0,
  firstId: 8,
  lastId: 16,
  epoch: 24,
  program: 28,
  allowed: 32,
  denied: 40,
  slot: 48,
  refusals: 52,
  /** In the machine's own byte order: the addon counts here. */
  byFlows: 56,
} as const;
const slotBytes = 120 * 1024;
const slotAt = (slot: number): number => 1024 + slot * slotBytes;

const count = z.number().int().min(0);
const snapshotSchema = z.strictObject({
  nextGrant: count,
  grants: z.array(
    z.strictObject({
      id: count,
      request: z.string(),
      target: z.string(),
      throughEpoch: count,
      until: z.string().optional(),
      uses: count.optional(),
      forMs: count.optional(),
      usesLeft: count.optional(),
      /** CLOCK_MONOTONIC, which all processes share. */
      expiresMs: z.number().optional(),
    }),
  ),
  bound: z.array(z.strictObject({ path: z.string(), dev: z.number(), ino: z.number() })),
});

export type Snapshot = z.infer<typeof snapshotSchema>;

export class Journal {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  /** How many requests and calls flows answered. */
  readonly byFlows: BigUint64Array;
  /** The words that `received` reads, for who receives calls. */
  readonly receivedWords: BigUint64Array;

  constructor(memory: ArrayBuffer) {
    if (memory.byteLength < journalBytes) throw new Error(`a journal of ${memory.byteLength} bytes`);
    this.#bytes = new Uint8Array(memory);
    this.#view = new DataView(memory);
    this.byFlows = new BigUint64Array(memory, at.byFlows, 1);
    this.receivedWords = new BigUint64Array(memory, at.receivedAny, 3);
  }

  /** Ids of the calls that were received, the first and the last; undefined when there was none. */
  get received(): { readonly first: bigint; readonly last: bigint } | undefined {
    if (this.#view.getUint32(at.receivedAny) === 0) return undefined;
    return { first: this.#view.getBigUint64(at.firstId), last: this.#view.getBigUint64(at.lastId) };
  }

  get epoch(): number {
    return this.#view.getUint32(at.epoch);
  }

  set epoch(epoch: number) {
    this.#view.setUint32(at.epoch, epoch);
  }

  get programStarted(): boolean {
    return this.#view.getUint32(at.program) !== 0;
  }

  startedProgram(): void {
    this.#view.setUint32(at.program, 1);
  }

  get counts(): { readonly allowed: number; readonly denied: number } {
    return { allowed: this.#view.getFloat64(at.allowed), denied: this.#view.getFloat64(at.denied) };
  }

  /** Of those, refused calls of the VMM itself: what counts against its limit. */
  get refusals(): number {
    return this.#view.getUint32(at.refusals);
  }

  set refusals(refusals: number) {
    this.#view.setUint32(at.refusals, refusals);
  }

  counted(allowed: number, denied: number): void {
    this.#view.setFloat64(at.allowed, allowed);
    this.#view.setFloat64(at.denied, denied);
  }

  /** False when it does not fit. */
  write(snapshot: Snapshot): boolean {
    const text = Buffer.from(JSON.stringify(snapshot));
    if (text.length > slotBytes - 4) return false;
    const next = this.#view.getUint32(at.slot) === 1 ? 2 : 1;
    this.#view.setUint32(slotAt(next - 1), text.length);
    this.#bytes.set(text, slotAt(next - 1) + 4);
    this.#view.setUint32(at.slot, next);
    return true;
  }

  /** Undefined when nothing was written. @throws for bytes that are no snapshot: then the next broker starts without grants. */
  read(): Snapshot | undefined {
    const slot = this.#view.getUint32(at.slot);
    if (slot !== 1 && slot !== 2) return undefined;
    const from = slotAt(slot - 1);
    const length = Math.min(this.#view.getUint32(from), slotBytes - 4);
    return snapshotSchema.parse(JSON.parse(Buffer.from(this.#bytes.subarray(from + 4, from + 4 + length)).toString()));
  }
}

/** Milliseconds of CLOCK_MONOTONIC: the same for the next broker. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1000n) / 1000;
}
