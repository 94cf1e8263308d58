// SPDX-License-Identifier: Apache-2.0
import type { Readable } from 'node:stream';
import { type Deferred, deferred } from '../deferred.ts';
import { RatchetError } from '../errors.ts';

const lastWordsCharacters = 2000;

/** Follows a guest's serial line: remembers all of it and waits for lines, whether they have been printed already or not. */
export class GuestConsole {
  #text = '';
  #ended = false;
  #change: Deferred<void> = deferred();

  constructor(stream: Readable) {
    stream.setEncoding('utf8');
    stream.on('data', (chunk: string) => {
      this.#text += chunk;
      this.#notify();
    });
    stream.once('close', () => this.#end());
    stream.once('error', () => this.#end());
  }

  /** Everything so far. */
  get text(): string {
    return this.#text;
  }

  /**
   * The first whole line at or after `from` that matches.
   * @param from a position in `text`; 0 searches from the beginning.
   * @throws RatchetError GUEST_SILENT with the last lines.
   */
  async waitForLine(pattern: RegExp, timeoutMs: number, from = 0): Promise<RegExpExecArray> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#notify();
    }, timeoutMs);
    try {
      let position = from;
      for (;;) {
        for (let end = this.#text.indexOf('\n', position); end >= 0; end = this.#text.indexOf('\n', position)) {
          const match = pattern.exec(this.#text.slice(position, end).trimEnd());
          if (match !== null) return match;
          position = end + 1;
        }
        if (late || this.#ended)
          throw this.#silent(pattern, late ? `within ${timeoutMs} ms` : 'before its console was closed');
        await this.#change.promise;
      }
    } finally {
      clearTimeout(timer);
    }
  }

  #end(): void {
    this.#ended = true;
    this.#notify();
  }

  #notify(): void {
    this.#change.resolve();
    this.#change = deferred();
  }

  #silent(pattern: RegExp, when: string): RatchetError {
    const last = this.#text.slice(-lastWordsCharacters);
    const words = last === '' ? 'it printed nothing' : `its last lines:\n${last}`;
    return new RatchetError('GUEST_SILENT', `the guest did not print ${pattern} ${when}; ${words}`);
  }
}

/** The counter's values in a console's text, in order. A line that a migration cut in two is whole in the two texts joined. */
export function guestTicks(text: string): readonly number[] {
  return [...text.matchAll(/^ratchet-guest: tick (\d+)\r?$/gm)].map((match) => Number(match[1]));
}
