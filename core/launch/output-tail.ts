// SPDX-License-Identifier: Apache-2.0
import type { Readable, Writable } from 'node:stream';

const tailLimit = 4096;

/** Passes a stream on and remembers its end, so that an error can show a dead program's last words. */
export class OutputTail {
  #text = '';
  /** Settles when the stream has ended: nothing more will come. */
  readonly ended: Promise<void>;

  constructor(stream: Readable | null, forward: Writable | undefined) {
    this.ended = stream === null ? Promise.resolve() : new Promise((resolve) => stream.once('close', () => resolve()));
    stream?.on('data', (chunk: Buffer) => {
      forward?.write(chunk);
      this.#text = (this.#text + chunk.toString('utf8')).slice(-tailLimit);
    });
  }

  get text(): string {
    return this.#text.trimEnd();
  }
}
