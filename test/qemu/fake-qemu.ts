// SPDX-License-Identifier: Apache-2.0
import { OwnedFd } from '../../core/owned-fd.ts';
import { QmpClient, type QmpClientOptions } from '../../core/qemu/qmp-client.ts';
import { native, type Watch } from '../../native/index.ts';

export interface ReceivedCommand {
  readonly execute: string;
  readonly arguments?: unknown;
  readonly id: number;
}

export const greeting =
  '{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}\r\n';

/** The far end of a monitor, under the test's control. Reads only when asked to. */
export class FakeMonitor implements Disposable {
  /** What came along with the commands. */
  readonly fds: OwnedFd[] = [];
  readonly #socket: OwnedFd;
  #text = '';
  #watch: Watch | undefined;

  constructor(socketFd: number) {
    this.#socket = new OwnedFd(socketFd);
  }

  send(text: string | Uint8Array, fds: readonly number[] = []): void {
    const data = Buffer.from(text);
    const sent = native.sendMessage({ fd: this.#socket.fd, data, fds });
    if (sent !== data.length) throw new Error(`only ${sent} of ${data.length} bytes were taken`);
  }

  answer(command: ReceivedCommand, value: unknown = {}): void {
    this.send(`${JSON.stringify({ return: value, id: command.id })}\r\n`);
  }

  /** The next command, with what came before it kept. Descriptors that came along are in `fds`. */
  async command(): Promise<ReceivedCommand> {
    for (;;) {
      const end = this.#text.indexOf('\n');
      if (end >= 0) {
        const line = this.#text.slice(0, end);
        this.#text = this.#text.slice(end + 1);
        return JSON.parse(line) as ReceivedCommand;
      }
      await this.#readable();
      const received = native.receiveMessage({ fd: this.#socket.fd, maxBytes: 1024 * 1024, maxFds: 4 });
      if (received.kind === 'end') throw new Error('the client closed the monitor');
      if (received.kind === 'again') continue;
      this.#text += received.data.toString();
      this.fds.push(...received.fds.map((fd) => new OwnedFd(fd)));
    }
  }

  [Symbol.dispose](): void {
    this.hangUp();
    for (const fd of this.fds) fd.close();
  }

  /** Ends QEMU's side; a `command()` that waits never returns. */
  hangUp(): void {
    this.#watch?.close();
    this.#socket.close();
  }

  #readable(): Promise<void> {
    return new Promise((resolve) => {
      this.#watch = native.watchFd({ fd: this.#socket.fd, readable: true, writable: false }, () => {
        this.#watch?.close();
        this.#watch = undefined;
        resolve();
      });
    });
  }
}

/** A client and the far end of its monitor. */
export class FakeQemu extends FakeMonitor {
  readonly client: QmpClient;

  constructor(options: QmpClientOptions = {}) {
    const [ours, theirs] = native.socketPair({ type: 'stream' });
    super(theirs);
    this.client = new QmpClient(new OwnedFd(ours), options);
  }

  override [Symbol.dispose](): void {
    this.client.close();
    super[Symbol.dispose]();
  }
}
