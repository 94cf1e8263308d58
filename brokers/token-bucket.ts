// SPDX-License-Identifier: Apache-2.0

/** Lets `burst` through at once and `perSecond` after that; counts what it held back. The clock is monotonic. */
export class TokenBucket {
  readonly #burst: number;
  readonly #perSecond: number;
  readonly #nowMs: () => number;
  #tokens: number;
  #lastMs: number;
  #heldBack = 0;

  constructor(options: { readonly burst: number; readonly perSecond: number; readonly nowMs?: () => number }) {
    this.#burst = options.burst;
    this.#perSecond = options.perSecond;
    this.#nowMs = options.nowMs ?? (() => performance.now());
    this.#tokens = options.burst;
    this.#lastMs = this.#nowMs();
  }

  /** Whether the next `take()` is let through. */
  get hasRoom(): boolean {
    const now = this.#nowMs();
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#lastMs) / 1000) * this.#perSecond);
    this.#lastMs = now;
    return this.#tokens >= 1;
  }

  take(): boolean {
    if (!this.hasRoom) {
      this.#heldBack += 1;
      return false;
    }
    this.#tokens -= 1;
    return true;
  }

  /** Milliseconds until the next is let through; 0 when it would be now. */
  get roomInMs(): number {
    return this.hasRoom ? 0 : ((1 - this.#tokens) / this.#perSecond) * 1000;
  }

  /** Some that were held back elsewhere. */
  holdBack(count: number): void {
    this.#heldBack += count;
  }

  /** How many were held back since the last time this was asked. */
  drain(): number {
    const count = this.#heldBack;
    this.#heldBack = 0;
    return count;
  }
}
