// SPDX-License-Identifier: Apache-2.0

const windowMs = 60_000;
const longestWaitMs = 30_000;

/** Counts the restarts of a member: how long to wait for the next, and when it is enough. */
export class Restarts {
  #moments: number[] = [];

  /** Milliseconds to wait; undefined when there were `times` within the last minute. The first waits `backoffMs`, each further one twice as long. */
  next(times: number, backoffMs: number, now = performance.now()): number | undefined {
    this.#moments = this.#moments.filter((moment) => now - moment < windowMs);
    if (this.#moments.length >= times) return undefined;
    const waitMs = Math.min(backoffMs * 2 ** this.#moments.length, longestWaitMs);
    this.#moments.push(now);
    return waitMs;
  }
}
