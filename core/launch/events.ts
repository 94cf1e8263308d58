// SPDX-License-Identifier: Apache-2.0

/** One thing that happened to a sandbox. `type` is one of stage, grant, refusal, violation, broker, program, exit; in a group also member. */
export interface SandboxEvent {
  /** ISO 8601, UTC. */
  readonly time: string;
  readonly type: 'stage' | 'grant' | 'refusal' | 'violation' | 'broker' | 'program' | 'exit' | 'member';
  readonly [detail: string]: unknown;
}

// A reader that falls further behind than this loses the oldest events and is told how many.
const queueLimit = 4096;

interface Reader {
  readonly queue: SandboxEvent[];
  lost: number;
  wake: (() => void) | undefined;
  stopped: boolean;
}

/** Gives every reader every event from the moment it starts reading, and the first one what came before it: the launch itself has its events too. Ends for all when closed. */
export class EventStream implements AsyncIterable<SandboxEvent> {
  readonly #readers = new Set<Reader>();
  readonly #watchers = new Set<(event: SandboxEvent) => void>();
  #early: Reader | undefined = newReader();
  #closed = false;

  emit(type: SandboxEvent['type'], detail: Readonly<Record<string, unknown>>): void {
    this.push({ time: new Date().toISOString(), ...detail, type });
  }

  /** Hears of each event as it happens, and takes none from a reader. @returns how to stop. */
  watch(hear: (event: SandboxEvent) => void): () => void {
    this.#watchers.add(hear);
    return () => this.#watchers.delete(hear);
  }

  push(event: SandboxEvent): void {
    for (const hear of this.#watchers) hear(event);
    for (const reader of this.#early === undefined ? this.#readers : [this.#early]) {
      if (reader.queue.length >= queueLimit) {
        reader.queue.shift();
        reader.lost++;
      }
      reader.queue.push(event);
      reader.wake?.();
    }
  }

  close(): void {
    this.#closed = true;
    for (const reader of this.#readers) reader.wake?.();
  }

  [Symbol.asyncIterator](): AsyncIterator<SandboxEvent> {
    // Subscribed here, not at the first next(): nothing that happens in between is missed.
    const reader = this.#early ?? newReader();
    this.#early = undefined;
    this.#readers.add(reader);
    const stop = (): IteratorResult<SandboxEvent> => {
      this.#readers.delete(reader);
      reader.stopped = true;
      // A next() that waits must not wait for ever.
      reader.wake?.();
      return { done: true, value: undefined };
    };
    return {
      next: async () => {
        while (reader.queue.length === 0) {
          if (this.#closed || reader.stopped) return stop();
          await new Promise<void>((resolve) => {
            reader.wake = resolve;
          });
        }
        return { done: false, value: takeEvent(reader) };
      },
      return: async () => stop(),
    };
  }
}

function newReader(): Reader {
  return { queue: [], lost: 0, wake: undefined, stopped: false };
}

function takeEvent(reader: Reader): SandboxEvent {
  if (reader.lost === 0) return reader.queue.shift() as SandboxEvent;
  const lost = reader.lost;
  reader.lost = 0;
  return { time: new Date().toISOString(), type: 'broker', what: 'events-lost', lost };
}
