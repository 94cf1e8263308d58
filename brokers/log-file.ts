// SPDX-License-Identifier: Apache-2.0
import { closeSync, writeSync } from 'node:fs';
import type { DestinationStream } from 'pino';
import type { OwnedFd } from '../core/owned-fd.ts';

/**
 * Where the log goes: stderr, until the launcher gives another file. Written at once, so that no line is lost when the process is killed. A log that cannot be
 * written (a full disk) does not stop the broker: the lines are counted.
 */
export class LogFile implements DestinationStream {
  #fd = 2;
  #lost = 0;
  onLost: () => void = () => undefined;

  /** Takes the fd. What was written before stays where it is. */
  use(file: OwnedFd): void {
    if (this.#fd !== 2) closeSync(this.#fd);
    this.#fd = file.release();
  }

  write(line: string): void {
    const bytes = Buffer.from(line);
    try {
      let written = 0;
      while (written < bytes.length) written += writeSync(this.#fd, bytes, written);
    } catch {
      this.#lost += 1;
      this.onLost();
    }
  }

  /** Lines that could not be written since this was last asked. */
  drain(): number {
    const lost = this.#lost;
    this.#lost = 0;
    return lost;
  }
}
