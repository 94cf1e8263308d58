// SPDX-License-Identifier: Apache-2.0
import { native } from '../native/index.ts';

/** A file descriptor with one owner. Closed once, by `close()` or `using`; `release()` hands the number to another owner. */
export class OwnedFd {
  #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** The number, or a throw when it was closed or released. */
  get fd(): number {
    if (this.#fd < 0) throw new Error('the file descriptor was already closed or handed on');
    return this.#fd;
  }

  /** Gives up ownership; the caller closes it. */
  release(): number {
    const fd = this.fd;
    this.#fd = -1;
    return fd;
  }

  close(): void {
    if (this.#fd < 0) return;
    const fd = this.#fd;
    this.#fd = -1;
    native.closeFd({ fd });
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
