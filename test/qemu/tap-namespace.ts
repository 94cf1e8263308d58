// SPDX-License-Identifier: Apache-2.0
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { OwnedFd } from '../../core/owned-fd.ts';
import { native } from '../../native/index.ts';

/** A tap device in a network namespace that ends with this object; the machine's own network is not touched. */
export class TapNamespace implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  readonly tap: { readonly fd: OwnedFd; readonly name: string };

  private constructor(child: ChildProcess, tap: { readonly fd: OwnedFd; readonly name: string }) {
    this.#child = child;
    this.tap = tap;
    if (child.stdout === null) throw new Error('no stdout');
    this.#answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  /** @param address with prefix length, for the host's side of the tap. */
  static async create(name: string, address: string): Promise<TapNamespace> {
    const [ours, theirs] = native.socketPair({ type: 'stream' });
    using socket = new OwnedFd(ours);
    using passed = new OwnedFd(theirs);
    const script = fileURLToPath(new URL('./tap-in-namespace.mjs', import.meta.url));
    const child = spawn('unshare', ['--net', process.execPath, script, name, address], {
      stdio: ['pipe', 'pipe', 'inherit', passed.fd],
    });
    passed.close();
    const message = await receive(socket.fd);
    return new TapNamespace(child, { fd: new OwnedFd(message.fd), name: message.text });
  }

  /** Whether the address answers an ICMP echo request sent from the namespace. */
  async answers(address: string): Promise<boolean> {
    this.#child.stdin?.write(`${address}\n`);
    return (await this.#answers.next()).value === 'answered';
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.tap.fd.close();
    this.#child.stdin?.end();
    if (this.#child.exitCode === null) await once(this.#child, 'exit');
  }
}

async function receive(fd: number): Promise<{ readonly text: string; readonly fd: number }> {
  await new Promise<void>((resolve) => {
    const watch = native.watchFd({ fd, readable: true, writable: false }, () => {
      watch.close();
      resolve();
    });
  });
  const received = native.receiveMessage({ fd, maxBytes: 64, maxFds: 1 });
  const passed = received.kind === 'message' ? received.fds[0] : undefined;
  if (received.kind !== 'message' || passed === undefined) throw new Error('the namespace did not pass a tap device');
  return { text: received.data.toString(), fd: passed };
}
