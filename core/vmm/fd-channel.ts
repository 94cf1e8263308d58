// SPDX-License-Identifier: Apache-2.0
import { type NativeError, native, type Watch } from '../../native/index.ts';
import { RatchetError } from '../errors.ts';
import type { OwnedFd } from '../owned-fd.ts';

export interface ChannelReceiver {
  data(chunk: Buffer): void;
  /** Called once; nothing follows. */
  ended(reason: Error): void;
}

interface Outgoing {
  readonly data: Uint8Array;
  readonly fds: readonly number[];
}

const maxReadBytes = 64 * 1024;

/** A unix stream socket whose bytes can carry fds. Owns its descriptor. */
export class FdChannel {
  readonly #socket: OwnedFd;
  readonly #receiver: ChannelReceiver;
  readonly #closed: (why: string, cause?: unknown) => Error;
  #outgoing: Outgoing[] = [];
  #watch: Watch;
  #writing = false;
  #open = true;

  /** @param closed makes the error of an end that we did not ask for. */
  constructor(socket: OwnedFd, receiver: ChannelReceiver, closed: (why: string, cause?: unknown) => Error) {
    this.#socket = socket;
    this.#receiver = receiver;
    this.#closed = closed;
    this.#watch = this.#startWatch();
  }

  /** Queues the bytes. The fds travel with the first of them, and must stay open until the peer has answered. */
  send(data: Uint8Array, fds: readonly number[]): void {
    if (!this.#open) return;
    this.#outgoing.push({ data, fds });
    this.#flush();
  }

  close(reason: Error): void {
    if (!this.#open) return;
    this.#open = false;
    this.#outgoing = [];
    this.#watch.close();
    this.#socket.close();
    this.#receiver.ended(reason);
  }

  #startWatch(): Watch {
    return native.watchFd({ fd: this.#socket.fd, readable: true, writable: this.#writing }, (ready) => {
      if (ready.readable || ready.hangup) this.#read();
      if (ready.writable) this.#flush();
    });
  }

  #read(): void {
    while (this.#open) {
      try {
        // A VMM has no reason to send us descriptors: any is a protocol error, and is closed by the addon.
        const received = native.receiveMessage({ fd: this.#socket.fd, maxBytes: maxReadBytes, maxFds: 0 });
        if (received.kind === 'again') return;
        if (received.kind === 'end') this.close(this.#closed('was closed'));
        else this.#receiver.data(received.data);
      } catch (error) {
        this.close(this.#readFailure(error));
      }
    }
  }

  #flush(): void {
    try {
      for (let next = this.#outgoing[0]; next !== undefined; next = this.#outgoing[0]) {
        const sent = native.sendMessage({ fd: this.#socket.fd, data: next.data, fds: next.fds });
        if (sent < 0) break;
        if (sent < next.data.length) this.#outgoing[0] = { data: next.data.subarray(sent), fds: [] };
        else this.#outgoing.shift();
      }
    } catch (cause) {
      this.close(this.#closed('could not be written to', cause));
      return;
    }
    this.#watchWrites(this.#outgoing.length > 0);
  }

  #watchWrites(writing: boolean): void {
    if (writing === this.#writing) return;
    this.#writing = writing;
    this.#watch.close();
    this.#watch = this.#startWatch();
  }

  /** ECONNRESET is the VMM's end too: it died with something of ours unread. */
  #readFailure(error: unknown): Error {
    if (error instanceof RatchetError) return error;
    const { code, message } = error as NativeError;
    if (code === 'ECONNRESET') return this.#closed('was closed', error);
    return this.#closed(`could not be read: ${message}`, error);
  }
}
