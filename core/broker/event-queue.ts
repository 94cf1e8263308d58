// SPDX-License-Identifier: Apache-2.0

/** A reader that falls further behind loses the oldest. */
const maxQueued = 4096;

/** Events for any number of readers; those that came before the first reader wait for it. Ends for all when closed. */
export class EventQueue<T> implements AsyncIterable<T> {
  readonly #readers = new Set<Reader<T>>();
  #early: T[] = [];
  #started = false;
  #closed = false;

  push(event: T): void {
    if (!this.#started) add(this.#early, event);
    for (const reader of this.#readers) {
      add(reader.queue, event);
      reader.wake();
    }
  }

  close(): void {
    this.#closed = true;
    for (const reader of this.#readers) reader.wake();
  }

  [Symbol.asyncIterator](): AsyncIterator<T> {
    const reader: Reader<T> = { queue: this.#early, wake: () => undefined };
    this.#early = [];
    this.#started = true;
    this.#readers.add(reader);
    return {
      next: async () => {
        while (reader.queue.length === 0 && !this.#closed) {
          await new Promise<void>((resolve) => {
            reader.wake = resolve;
          });
        }
        const event = reader.queue.shift();
        if (event !== undefined) return { done: false, value: event };
        this.#readers.delete(reader);
        return { done: true, value: undefined };
      },
      return: async () => {
        this.#readers.delete(reader);
        return { done: true, value: undefined };
      },
    };
  }
}

interface Reader<T> {
  readonly queue: T[];
  wake: () => void;
}

function add<T>(queue: T[], event: T): void {
  if (queue.length >= maxQueued) queue.shift();
  queue.push(event);
}
