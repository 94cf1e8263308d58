// SPDX-License-Identifier: Apache-2.0
// What fails for a refusal says "Operation not permitted" at best. Here its error is told the refusal too, with the feature that would permit it.
import type { Vmm } from '../vmm/vmm.ts';
import { describeRefusal } from './describe-refusal.ts';
import type { EventStream, SandboxEvent } from './events.ts';
import type { Sandbox } from './sandbox.ts';

/** Performs a command. When it fails and the VMM was refused something meanwhile, the message tells that: of several refusals the first that a feature would permit. */
export async function tellingRefusals<T>(sandbox: Sandbox<Vmm>, act: () => Promise<T>): Promise<T> {
  using refusals = new RefusalsMeanwhile(sandbox.events);
  try {
    return await act();
  } catch (error) {
    // The broker answers in order: what it had to tell of the command is here when this answer is.
    await sandbox.status().catch(() => undefined);
    addTo(error, refusals.all.find(isOfFeature) ?? refusals.all[0]);
    throw error;
  }
}

/** The VMM's own refusals from now on. */
export class RefusalsMeanwhile implements Disposable {
  readonly all: SandboxEvent[] = [];
  readonly #stop: () => void;

  constructor(events: EventStream) {
    this.#stop = events.watch((event) => {
      if (event.type === 'refusal' && event['door'] !== 'launcher') this.all.push(event);
    });
  }

  /** Tells of what it died: the last that a feature would permit. A VMM that ends while it is set up may well have done so for its arguments. */
  explainDeath(error: unknown): void {
    addTo(error, this.all.findLast(isOfFeature));
  }

  [Symbol.dispose](): void {
    this.#stop();
  }
}

function isOfFeature({ features }: SandboxEvent): boolean {
  return ((features as readonly string[] | undefined) ?? []).length > 0;
}

function addTo(error: unknown, refusal: SandboxEvent | undefined): void {
  if (refusal === undefined || !(error instanceof Error)) return;
  error.message += ` - meanwhile the VMM was refused ${describeRefusal(refusal)}`;
}
