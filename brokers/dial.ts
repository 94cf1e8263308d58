// SPDX-License-Identifier: Apache-2.0
// connect(2) without ever waiting in it, for either door: on our own socket, or on our copy of the VMM's.

import type { OwnedFd } from '../core/owned-fd.ts';
import { type Address, addressToSockaddr, socketFamily } from '../core/policy/address/index.ts';
import { native, type Watch } from '../native/index.ts';
import { errno, socketOption } from './linux.ts';
import { attempt, errnoOf } from './native-errno.ts';
import { setNonBlocking } from './non-blocking.ts';
import { pinnedSockaddr, pinSocket } from './unix-pin.ts';

export interface DialOptions {
  readonly fd: OwnedFd;
  readonly address: Address;
  /** Family of the socket: an IPv4 address on an inet6 one is written as mapped. */
  readonly family: number;
  /** Whether the caller's socket blocks: then the answer is the connection's fate, otherwise what a non-blocking connect says now. */
  readonly blocking: boolean;
  /** What connect(2) has said on this socket already: 0 or an errno. */
  readonly begun?: number | undefined;
  /** For a blocking one. Infinity leaves it to the kernel's own limits. */
  readonly timeoutMs: number;
  /** How long a full queue of a unix listener is tried again. */
  readonly backlogWaitMs: number;
  /** Where a unix path leads that is a symbolic link, when that may be had too. */
  readonly follow: (path: string) => string | undefined;
  /** Asked right before each connect(2): false is EACCES. */
  readonly permitted: () => boolean;
  /** Called once, perhaps before `dial` returns, with 0 or an errno. Not called after `cancel`. */
  readonly done: (errno: number) => void;
}

export interface Dial {
  /** Stops waiting. The socket is left as it is; closing it is the owner's. */
  readonly cancel: () => void;
}

const backlogRetryMs = 5;

export function dial(options: DialOptions): Dial {
  const attemptToConnect = new DialAttempt(options);
  attemptToConnect.start();
  return attemptToConnect;
}

class DialAttempt implements Dial {
  readonly #options: DialOptions;
  readonly #startedMs = performance.now();
  #pin: OwnedFd | undefined;
  #watch: Watch | undefined;
  #timer: NodeJS.Timeout | undefined;
  #over = false;

  constructor(options: DialOptions) {
    this.#options = options;
  }

  start(): void {
    const { address, begun } = this.#options;
    if (address.kind === 'unix' && (begun === undefined || begun === errno.EAGAIN)) {
      const failed = this.#pinSocket(address.path);
      if (failed !== 0) {
        this.#finish(failed);
        return;
      }
    }
    this.#connect(begun);
  }

  #pinSocket(path: string): number {
    const pin = (from: string): number =>
      attempt(() => {
        this.#pin = pinSocket(from);
      });
    const failed = pin(path);
    const end = failed === errno.ELOOP ? this.#options.follow(path) : undefined;
    return end === undefined ? failed : pin(end);
  }

  cancel = (): void => {
    this.#release();
  };

  #connect(begun?: number): void {
    const { fd, blocking, permitted } = this.#options;
    if (!permitted()) {
      this.#finish(errno.EACCES);
      return;
    }
    let state: 'connected' | 'inprogress' | number;
    if (begun !== undefined) state = begun === 0 ? 'connected' : begun === errno.EINPROGRESS ? 'inprogress' : begun;
    else
      try {
        // The flag belongs to the open file description, which the VMM shares: it is set around the call alone.
        if (blocking) setNonBlocking(fd.fd, true);
        state = native.connectSocket({ fd: fd.fd, address: this.#sockaddr() });
      } catch (error) {
        state = errnoOf(error);
      }
    // An earlier connect on this socket is still under way: a blocking caller waits for it (connect(2)).
    if (state === errno.EALREADY && blocking) state = 'inprogress';
    if (state === 'inprogress' && blocking) this.#waitForFate();
    // libuv sets O_NONBLOCK on what it watches, so this comes after.
    if (blocking) attempt(() => setNonBlocking(fd.fd, false));
    if (state === 'connected') this.#finish(0);
    else if (state === errno.EAGAIN && blocking) this.#retryLater();
    else if (typeof state === 'number') this.#finish(state);
    else if (!blocking) this.#finish(errno.EINPROGRESS);
  }

  #sockaddr(): Uint8Array {
    const { address, family } = this.#options;
    if (this.#pin !== undefined) return pinnedSockaddr(this.#pin);
    return addressToSockaddr(address, { mapped: family === socketFamily.inet6 });
  }

  #waitForFate(): void {
    const { fd, timeoutMs } = this.#options;
    if (timeoutMs !== Number.POSITIVE_INFINITY)
      this.#timer = setTimeout(() => this.#finish(errno.ETIMEDOUT), timeoutMs - (performance.now() - this.#startedMs));
    this.#watch = native.watchFd({ fd: fd.fd, readable: false, writable: true }, () => {
      let fate: number;
      try {
        fate = native.getSocketOption({ fd: fd.fd, ...socketOption.error });
      } catch (error) {
        fate = errnoOf(error);
      }
      this.#finish(fate);
    });
  }

  /** A unix listener's queue is full: connect(2) on a blocking socket waits for room. */
  #retryLater(): void {
    const limitMs = Math.min(this.#options.timeoutMs, this.#options.backlogWaitMs);
    if (performance.now() - this.#startedMs >= limitMs) this.#finish(errno.ETIMEDOUT);
    else this.#timer = setTimeout(() => this.#connect(), backlogRetryMs);
  }

  #finish(result: number): void {
    if (this.#over) return;
    this.#release();
    this.#options.done(result);
  }

  #release(): void {
    this.#over = true;
    clearTimeout(this.#timer);
    this.#watch?.close();
    this.#pin?.close();
    this.#watch = undefined;
  }
}
