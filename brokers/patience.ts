// SPDX-License-Identifier: Apache-2.0

/** How many refusals the launch permits before the VMM is stopped. */
export class Patience {
  readonly #max: number;
  #refusals = 0;
  /** Before the answer leaves. */
  onSpend: (refusals: number) => void = () => undefined;

  /** 0: without end. */
  constructor(max: number) {
    this.#max = max;
  }

  /** Counts one more; true when it is one too many. */
  spend(): boolean {
    this.#refusals += 1;
    this.onSpend(this.#refusals);
    return this.#max > 0 && this.#refusals >= this.#max;
  }

  /** What a broker before this one has counted. */
  continueFrom(refusals: number): void {
    this.#refusals = refusals;
  }

  get words(): string {
    return `the VMM was refused ${this.#refusals} calls and is killed: --max-refusals ${this.#max}`;
  }
}
