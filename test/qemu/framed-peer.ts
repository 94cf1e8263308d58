// SPDX-License-Identifier: Apache-2.0
// The other end of a NIC on a stream socket: QEMU puts a 32-bit big-endian length before each Ethernet frame (net/socket.c).
import { once } from 'node:events';
import { createServer, type Server, Socket } from 'node:net';

const ownMac = Buffer.from('020000000001', 'hex');
const broadcast = Buffer.alloc(6, 0xff);

export class FramedPeer implements AsyncDisposable {
  readonly #server: Server | undefined;
  readonly #connection: Promise<Socket>;

  private constructor(connection: Promise<Socket>, server?: Server) {
    this.#server = server;
    this.#connection = connection.then((socket) => {
      // QEMU may close its end with frames of ours unread: that is a reset, and no concern of the test.
      socket.on('error', () => undefined);
      return socket;
    });
  }

  static async listen(where: string | { readonly host: string; readonly port: number }): Promise<FramedPeer> {
    const server = createServer();
    if (typeof where === 'string') server.listen(where);
    else server.listen(where);
    await once(server, 'listening');
    return new FramedPeer(
      once(server, 'connection').then(([socket]) => socket as Socket),
      server,
    );
  }

  static async connect(
    where: { readonly path: string } | { readonly host: string; readonly port: number },
  ): Promise<FramedPeer> {
    const socket = new Socket();
    socket.connect(where);
    await once(socket, 'connect');
    return new FramedPeer(Promise.resolve(socket));
  }

  /** Asks who has an IPv4 address and resolves with the MAC address of the one that says so. */
  async whoHas(wanted: string, asking: string): Promise<string> {
    const socket = await this.#connection;
    const question = arpRequest(ipv4(wanted), ipv4(asking));
    socket.write(Buffer.concat([length(question), question]));
    let received = Buffer.alloc(0);
    for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
      received = Buffer.concat([received, chunk as Buffer]);
      for (; received.length >= 4 && received.length >= 4 + received.readUInt32BE(0); ) {
        const frame = received.subarray(4, 4 + received.readUInt32BE(0));
        received = received.subarray(4 + frame.length);
        if (isArpReplyFrom(frame, ipv4(wanted))) return [...frame.subarray(22, 28)].map(hexByte).join(':');
      }
    }
    throw new Error('the NIC was closed before it answered');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#server === undefined) (await this.#connection).destroy();
    this.#server?.close();
  }
}

/** RFC 826, for IPv4 over Ethernet. */
export function arpRequest(target: Buffer, sender: Buffer): Buffer {
  const header = Buffer.from('08060001080006040001', 'hex');
  return Buffer.concat([broadcast, ownMac, header, ownMac, sender, Buffer.alloc(6), target]);
}

export function isArpReplyFrom(frame: Buffer, sender: Buffer): boolean {
  return frame.readUInt16BE(12) === 0x0806 && frame.readUInt16BE(20) === 2 && frame.subarray(28, 32).equals(sender);
}

function length(frame: Buffer): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(frame.length);
  return bytes;
}

export function ipv4(text: string): Buffer {
  return Buffer.from(text.split('.').map(Number));
}

function hexByte(value: number): string {
  return value.toString(16).padStart(2, '0');
}
