// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import { createServer, type Server, Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import { withDeadline } from '../../../core/deferred.ts';
import { guestMs } from '../vm.ts';

/** The other end of a byte stream: remembers what came and waits for more. */
export class Peer {
  readonly stream: Readable;
  readonly #output: Writable;
  received = '';

  constructor(stream: Readable, output: Writable) {
    this.stream = stream;
    this.#output = output;
    stream.on('data', (chunk: Buffer) => {
      this.received += chunk.toString('latin1');
    });
    // A reset is how the other end may leave.
    for (const end of [stream, output]) end.on('error', () => undefined);
  }

  static connect(address: { readonly path: string } | { readonly port: number; readonly host?: string }): Peer {
    const socket = new Socket();
    const peer = new Peer(socket, socket);
    socket.connect(address);
    return peer;
  }

  /** Resolves when the handshake is done; the server's certificate is checked. */
  static async connectTls(options: ConnectionOptions): Promise<Peer> {
    const socket = connectTls(options);
    await once(socket, 'secureConnect');
    return new Peer(socket, socket);
  }

  send(text: string): void {
    this.#output.write(text, 'latin1');
  }

  /** Resolves with what came from `from` on when it fits. */
  async until(pattern: RegExp, from = 0): Promise<string> {
    const wait = async (): Promise<string> => {
      while (!pattern.test(this.received.slice(from))) {
        if (this.stream.destroyed) throw new Error(`the peer left after ${JSON.stringify(this.received.slice(from))}`);
        const woken = new AbortController();
        const { signal } = woken;
        await Promise.race([once(this.stream, 'data', { signal }), once(this.stream, 'close', { signal })]);
        woken.abort();
      }
      return this.received.slice(from);
    };
    return await withDeadline(wait(), guestMs, () => new Error(`no ${pattern} in ${JSON.stringify(this.received)}`));
  }
}

/** Waits for one connection. */
export class Listener implements AsyncDisposable {
  readonly #server: Server;
  readonly accepted: Promise<Peer>;

  private constructor(server: Server) {
    this.#server = server;
    this.accepted = once(server, 'connection').then(([socket]) => new Peer(socket as Socket, socket as Socket));
  }

  static async on(where: string | { readonly host: string; readonly port: number }): Promise<Listener> {
    const server = createServer();
    if (typeof where === 'string') server.listen(where);
    else server.listen(where);
    await once(server, 'listening');
    return new Listener(server);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    (await Promise.race([this.accepted, undefined]))?.stream.destroy();
  }
}
