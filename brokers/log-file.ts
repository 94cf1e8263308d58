// SPDX-License-Identifier: Apache-2.0
import { closeSync, writeSync } from 'node:fs';
import type { DestinationStream } from 'pino';
import type { OwnedFd } from '../core/owned-fd.ts';

/** What a reader who is slow may have left in a pipe. */
const maxWaitingBytes = 1024 * 1024;
const retryMs = 20;

/**
 * Where the log goes: stderr, until the launcher gives another file. Written at once, so that no line is lost when the process is killed. What a full pipe does not
 * take waits; a log that cannot be written (a full disk) does not stop the broker: the lines are counted.
 */
export class LogFile implements DestinationStream {
  #fd = 2;
  #lost = 0;
  #waiting = Buffer.alloc(0);
  #timer: NodeJS.Timeout | undefined;
  onLost: () => void = () => undefined;

  /** Takes the fd. What was written before stays where it is. */
  use(file: OwnedFd): void {
    if (this.#fd !== 2) closeSync(this.#fd);
    this.#fd = file.release();
  }

  write(line: string): void {
    const bytes = Buffer.from(line);
    if (this.#waiting.length + bytes.length > maxWaitingBytes) this.#lose();
    else {
      this.#waiting = this.#waiting.length === 0 ? bytes : Buffer.concat([this.#waiting, bytes]);
      this.flush();
    }
  }

  /** Writes as much of what waits as is taken. */
  flush(): void {
    try {
      while (this.#waiting.length > 0) this.#waiting = this.#waiting.subarray(writeSync(this.#fd, this.#waiting));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') {
        this.#timer ??= setTimeout(() => {
          this.#timer = undefined;
          this.flush();
        }, retryMs).unref();
        return;
      }
      this.#waiting = Buffer.alloc(0);
      this.#lose();
    }
  }

  /** Lines that could not be written since this was last asked. */
  drain(): number {
    const lost = this.#lost;
    this.#lost = 0;
    return lost;
  }

  #lose(): void {
    this.#lost += 1;
    this.onLost();
  }
}
