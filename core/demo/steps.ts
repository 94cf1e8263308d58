// SPDX-License-Identifier: Apache-2.0
import { print, style } from '../cli/output.ts';

export interface Step {
  readonly name: string;
  readonly ok: boolean;
  readonly ms: number;
  readonly detail: string;
}

/** Runs the steps of a story one after another, tells each as it ends, and remembers them for the table. */
export class Steps {
  readonly done: Step[] = [];
  readonly #quiet: boolean;

  constructor(options: { readonly quiet: boolean }) {
    this.#quiet = options.quiet;
  }

  get ok(): boolean {
    return this.done.length > 0 && this.done.every(({ ok }) => ok);
  }

  /** Runs one step; what `act` returns with `detail` is shown. A throw fails the step and, since later steps build on it, the story. */
  async run<T extends { readonly detail: string }>(name: string, act: () => Promise<T>): Promise<T> {
    const start = performance.now();
    try {
      const result = await act();
      this.#record({ name, ok: true, ms: elapsed(start), detail: result.detail });
      return result;
    } catch (error) {
      this.#record({ name, ok: false, ms: elapsed(start), detail: (error as Error).message });
      throw new StepFailed(name, { cause: error });
    }
  }

  #record(step: Step): void {
    this.done.push(step);
    if (this.#quiet) return;
    const mark = step.ok ? style('green', 'ok  ') : style('red', 'FAIL');
    print(`${mark} ${step.name} (${step.ms} ms): ${step.detail}`);
  }
}

/** The step is on record already; whoever catches this only has to stop. */
export class StepFailed extends Error {
  override readonly name = 'StepFailed';
}

function elapsed(start: number): number {
  return Math.round(performance.now() - start);
}
