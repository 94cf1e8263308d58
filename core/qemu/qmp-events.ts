// SPDX-License-Identifier: Apache-2.0
import { type Deferred, deferred, withDeadline } from '../deferred.ts';
import { RatchetError } from '../errors.ts';
import type { QmpEvent } from './qmp-message.ts';

/** A VMM that floods us with events costs memory up to here for each subscription; the oldest are dropped then. */
const maxWaiting = 4096;

/**
 * The events from the moment of subscribing on. Subscribe before the command that causes an event, and it cannot be missed.
 * `using` ends it.
 */
export class EventSubscription implements AsyncIterable<QmpEvent>, Disposable {
  readonly #names: ReadonlySet<string> | undefined;
  readonly #onClose: (subscription: EventSubscription) => void;
  readonly #waiting: QmpEvent[] = [];
  #arrival: Deferred<void> = deferred();
  #ended: Error | undefined;

  /** @param names the events of interest; undefined for all. */
  constructor(names: readonly string[] | undefined, onClose: (subscription: EventSubscription) => void) {
    this.#names = names === undefined ? undefined : new Set(names);
    this.#onClose = onClose;
  }

  /** Called by the client for each event. */
  deliver(event: QmpEvent): void {
    if (this.#names !== undefined && !this.#names.has(event.name)) return;
    if (this.#waiting.length === maxWaiting) this.#waiting.shift();
    this.#waiting.push(event);
    this.#wake();
  }

  /** Called by the client when no more can come. */
  end(reason: Error): void {
    this.#ended ??= reason;
    this.#wake();
  }

  /**
   * The next event that satisfies the predicate; those before it are passed over.
   * @throws RatchetError QMP_TIMEOUT naming the events, QMP_CLOSED when the monitor is gone.
   */
  async next(predicate: (event: QmpEvent) => boolean, timeoutMs: number): Promise<QmpEvent> {
    let wanted = true;
    const find = async (): Promise<QmpEvent> => {
      for (;;) {
        const event = await this.#take(() => wanted);
        if (event === undefined) throw this.#ended ?? this.#late(timeoutMs);
        if (predicate(event)) return event;
      }
    };
    return await withDeadline(find(), timeoutMs, () => {
      wanted = false;
      this.#wake();
      return this.#late(timeoutMs);
    });
  }

  async *[Symbol.asyncIterator](): AsyncIterator<QmpEvent> {
    try {
      for (let event = await this.#take(); event !== undefined; event = await this.#take()) yield event;
    } finally {
      this.close();
    }
  }

  close(): void {
    this.end(new RatchetError('QMP_CLOSED', 'the subscription was closed'));
    this.#onClose(this);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Undefined when there is nothing left and nothing can come, or when the caller has given up: then nothing is taken. */
  async #take(wanted: () => boolean = () => true): Promise<QmpEvent | undefined> {
    while (wanted()) {
      const event = this.#waiting.shift();
      if (event !== undefined || this.#ended !== undefined) return event;
      await this.#arrival.promise;
    }
    return undefined;
  }

  #wake(): void {
    this.#arrival.resolve();
    this.#arrival = deferred();
  }

  #late(timeoutMs: number): RatchetError {
    const names = this.#names === undefined ? 'event' : [...this.#names].join(' or ');
    return new RatchetError('QMP_TIMEOUT', `no matching ${names} came from QEMU within ${timeoutMs} ms`);
  }
}
