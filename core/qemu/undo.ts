// SPDX-License-Identifier: Apache-2.0

type Step = () => Promise<unknown>;

/** What to take back, in reverse order, when a later step fails. */
export class Undo {
  readonly #steps: Step[] = [];

  push(step: Step): void {
    this.#steps.push(step);
  }

  /** Runs `work`; when it throws, everything pushed so far is taken back and the first error is thrown on. */
  static async guard<T>(work: (undo: Undo) => Promise<T>): Promise<T> {
    const undo = new Undo();
    try {
      return await work(undo);
    } catch (error) {
      for (const step of undo.#steps.reverse()) {
        // The first failure is the one to report; QEMU may have taken this step back itself.
        await step().catch(() => undefined);
      }
      throw error;
    }
  }
}
