// SPDX-License-Identifier: Apache-2.0
import { OwnedFd } from '../../core/owned-fd.ts';
import { addressToSockaddr, socketFamily } from '../../core/policy/address/index.ts';
import { native, type Watch } from '../../native/index.ts';

export interface Told {
  readonly lines: readonly string[];
  readonly fds: readonly OwnedFd[];
}

/** Who listens at NOTIFY_SOCKET: keeps what it is told, in order. */
export class Manager implements Disposable {
  readonly path: string;
  readonly told: Told[] = [];
  readonly #socket: OwnedFd;
  readonly #watch: Watch;
  readonly #waiting = new Set<() => void>();

  constructor(path: string) {
    this.path = path;
    this.#socket = new OwnedFd(native.createSocket({ domain: socketFamily.unix, type: 2, protocol: 0 }));
    native.bindSocket({ fd: this.#socket.fd, address: addressToSockaddr({ kind: 'unix', path }) });
    this.#watch = native.watchFd({ fd: this.#socket.fd, readable: true, writable: false }, () => this.#read());
  }

  /** The first message with this line, when it comes. */
  async hears(line: RegExp): Promise<Told> {
    for (;;) {
      const found = this.told.find(({ lines }) => lines.some((each) => line.test(each)));
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  #read(): void {
    for (;;) {
      const received = native.receiveMessage({ fd: this.#socket.fd, maxBytes: 4096, maxFds: 1 });
      if (received.kind !== 'message') break;
      this.told.push({ lines: received.data.toString().split('\n'), fds: received.fds.map((fd) => new OwnedFd(fd)) });
    }
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }

  [Symbol.dispose](): void {
    this.#watch.close();
    this.#socket.close();
    for (const { fds } of this.told) for (const fd of fds) fd.close();
  }
}
