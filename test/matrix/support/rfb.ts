// SPDX-License-Identifier: Apache-2.0
// As much of a VNC client as shows that the server serves (RFC 6143): handshake, one whole picture.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { Peer } from './peer.ts';

const security = { none: 1, password: 2, veNCrypt: 19 } as const;
/** VeNCrypt's TLS with a certificate of the server and no further authentication. */
const x509None = 260;

/** Reads a number of bytes from a peer, each once. */
class Reader {
  readonly peer: Peer;
  #position = 0;

  constructor(peer: Peer) {
    this.peer = peer;
  }

  async take(bytes: number): Promise<Buffer> {
    await this.peer.until(new RegExp(`^[\\s\\S]{${bytes}}`), this.#position);
    const taken = this.peer.received.slice(this.#position, this.#position + bytes);
    this.#position += bytes;
    return Buffer.from(taken, 'latin1');
  }
}

/** The size of the picture that came. @throws when the server turns the client away. */
export async function seePicture(
  peer: Peer,
  options: { readonly password?: string; readonly authority?: Buffer } = {},
): Promise<{ readonly width: number; readonly height: number }> {
  let reader = new Reader(peer);
  await reader.take(12);
  peer.send('RFB 003.008\n');
  const [count = 0] = await reader.take(1);
  const offered = [...(await reader.take(count))];
  const wanted =
    options.authority !== undefined
      ? security.veNCrypt
      : options.password !== undefined
        ? security.password
        : security.none;
  if (!offered.includes(wanted)) throw new Error(`the server offers security ${offered}, and not ${wanted}`);
  peer.send(String.fromCharCode(wanted));
  if (options.password !== undefined) peer.send(answer(await reader.take(16), options.password));
  if (options.authority !== undefined) reader = new Reader(await overTls(peer, reader, options.authority));
  if ((await reader.take(4)).readUInt32BE() !== 0) throw new Error('the server turned the client away');
  reader.peer.send('\x01');
  const init = await reader.take(24);
  await reader.take(init.readUInt32BE(20));
  const [width, height] = [init.readUInt16BE(0), init.readUInt16BE(2)];
  const request = Buffer.alloc(10);
  request[0] = 3;
  request.writeUInt16BE(width, 6);
  request.writeUInt16BE(height, 8);
  reader.peer.send(request.toString('latin1'));
  const update = await reader.take(4);
  if (update[0] !== 0) throw new Error(`message ${update[0]} instead of a picture`);
  return { width, height };
}

async function overTls(peer: Peer, reader: Reader, authority: Buffer): Promise<Peer> {
  await reader.take(2);
  peer.send('\x00\x02');
  await reader.take(1);
  const [count = 0] = await reader.take(1);
  await reader.take(4 * count);
  const chosen = Buffer.alloc(4);
  chosen.writeUInt32BE(x509None);
  peer.send(chosen.toString('latin1'));
  await reader.take(1);
  const raw = peer.stream as Socket;
  raw.removeAllListeners('data');
  const socket = connectTls({ socket: raw, ca: authority, servername: 'localhost' });
  await once(socket, 'secureConnect');
  return new Peer(socket, socket);
}

/** VNC's authentication: the challenge under DES, each byte of the key with its bits turned round. Node's own OpenSSL has DES no more. */
function answer(challenge: Buffer, password: string): string {
  const key = Buffer.alloc(8);
  key.write(password);
  const turned = key.map((byte) => Number.parseInt(byte.toString(2).padStart(8, '0').split('').reverse().join(''), 2));
  const legacy = ['-provider', 'legacy', '-provider', 'default'];
  return execFileSync('openssl', ['enc', '-des-ecb', '-nopad', '-K', Buffer.from(turned).toString('hex'), ...legacy], {
    input: challenge,
  }).toString('latin1');
}
