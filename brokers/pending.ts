// SPDX-License-Identifier: Apache-2.0

/** Something that waits for the network, for either door. */
export interface Pending {
  /** False when nobody waits for it any more. */
  readonly wanted: () => boolean;
  /** Judges it again, by the stage that holds now; ends it when it is not granted there. */
  readonly recheck: () => void;
  /** Releases everything it holds; the asker gets no answer from it. */
  readonly abandon: () => void;
}

const sweepEveryMs = 200;

/** All waiting work: swept for callers that died, judged again at a stage change, bounded. */
export class PendingSet {
  readonly #all = new Set<Pending>();
  readonly #max: number;
  #sweep: NodeJS.Timeout | undefined;

  constructor(max: number) {
    this.#max = max;
  }

  get size(): number {
    return this.#all.size;
  }

  get full(): boolean {
    return this.#all.size >= this.#max;
  }

  /** Returns the function that takes it out again. */
  add(pending: Pending): () => void {
    this.#all.add(pending);
    this.#sweep ??= setInterval(() => this.#sweepNow(), sweepEveryMs).unref();
    return () => {
      this.#all.delete(pending);
      if (this.#all.size === 0) this.#stopSweep();
    };
  }

  recheckAll(): void {
    for (const pending of [...this.#all]) pending.recheck();
  }

  abandonAll(): void {
    for (const pending of [...this.#all]) pending.abandon();
    this.#all.clear();
    this.#stopSweep();
  }

  #sweepNow(): void {
    for (const pending of [...this.#all]) if (!pending.wanted()) pending.abandon();
  }

  #stopSweep(): void {
    clearInterval(this.#sweep);
    this.#sweep = undefined;
  }
}
