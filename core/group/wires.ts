// SPDX-License-Identifier: Apache-2.0
// The links of a running group. What a member gets of them are descriptors and, for the client of a socket, a path and the grant to connect to it: the
// paths lie in a folder that only the launcher's user may enter, and a path has its socket only while the server may be reached.
import { mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { native } from '../../native/index.ts';
import { OwnedFd } from '../owned-fd.ts';
import { addressToSockaddr } from '../policy/address/index.ts';
import type { Grant } from '../policy/index.ts';
import { type LinkSpec, type Port, portName } from './spec.ts';

/** What one start of a member takes from its links. */
export interface Ends extends Disposable {
  /** What stands for each port in its command: a descriptor's number, or a path. */
  readonly values: Readonly<Record<string, string>>;
  /** Number there -> number here. */
  readonly inherit: ReadonlyMap<number, number>;
  readonly allow: readonly Grant[];
  /** Removed by its broker, should the launcher be killed. */
  readonly ownedPaths: readonly string[];
}

const backlog = 16;
const family = { unix: 1 } as const;
const stream = 1;

export class Wires implements Disposable {
  readonly #links: LinkSpec[];
  readonly #folder: string;
  /** What is left of each pair, by port. */
  readonly #pairs = new Map<string, OwnedFd>();

  constructor(links: readonly LinkSpec[]) {
    this.#links = [...links];
    this.#folder = mkdtempSync(join(tmpdir(), 'ratchet-group-'));
    for (const link of links) this.#makePair(link);
  }

  /** One more link of a group that runs. */
  add(link: LinkSpec): void {
    this.#links.push(link);
    this.#makePair(link);
  }

  /** The end of a pair that no member was started with; the caller's from now on. */
  take(end: Port): OwnedFd {
    const fd = this.#pairs.get(portName(end));
    if (fd === undefined) throw new Error(`${portName(end)} was given away already`);
    this.#pairs.delete(portName(end));
    return fd;
  }

  #makePair({ kind, client, server }: LinkSpec): void {
    if (kind !== 'pair') return;
    const [one, other] = native.socketPair({ type: 'stream' });
    this.#pairs.set(portName(client), new OwnedFd(one));
    this.#pairs.set(portName(server), new OwnedFd(other));
  }

  /** Where the server of a socket can be reached. */
  path(server: Port): string {
    return join(this.#folder, portName(server));
  }

  /** Makes what a member is started with. `taken`: numbers that it inherits already. Dispose of it when the member is started: its copies are the last then. */
  endsFor(member: string, taken: ReadonlyMap<number, number>): Ends {
    this.hide(member);
    const values: Record<string, string> = {};
    const inherit = new Map<number, number>();
    const allow: Grant[] = [];
    const ownedPaths: string[] = [];
    const owned: OwnedFd[] = [];
    const give = (port: string, fd: OwnedFd): void => {
      let number = 3;
      while (taken.has(number) || inherit.has(number)) number++;
      owned.push(fd);
      inherit.set(number, fd.fd);
      values[port] = String(number);
    };
    for (const link of this.#links) {
      const { client, server } = link;
      if (link.kind === 'pair') {
        for (const end of [client, server]) if (end.member === member) give(end.port, this.take(end));
        continue;
      }
      if (server.member === member) {
        give(server.port, this.#listen(server));
        ownedPaths.push(this.path(server), hidden(this.path(server)));
      }
      if (client.member === member) {
        values[client.port] = this.path(server);
        allow.push({ request: 'connect', target: `unix:${this.path(server)}` });
      }
    }
    const close = (): void => {
      for (const fd of owned) fd.close();
    };
    return { values, inherit, allow, ownedPaths, [Symbol.dispose]: close };
  }

  /** Our copy of the other ends of a server's pairs, while their client is not started. */
  peersOf(server: string): readonly number[] {
    return this.#links.flatMap((link) => {
      const fd = this.#pairs.get(portName(link.client));
      return link.kind === 'pair' && link.server.member === server && fd !== undefined ? [fd.fd] : [];
    });
  }

  /** From now on clients find the member's sockets. */
  show(member: string): void {
    for (const path of this.#pathsOf(member)) renameSync(hidden(path), path);
  }

  /** From now on they do not. */
  hide(member: string): void {
    for (const path of this.#pathsOf(member)) for (const name of [path, hidden(path)]) rmSync(name, { force: true });
  }

  [Symbol.dispose](): void {
    for (const fd of this.#pairs.values()) fd.close();
    this.#pairs.clear();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #pathsOf(member: string): readonly string[] {
    return this.#links
      .filter(({ kind, server }) => kind === 'socket' && server.member === member)
      .map(({ server }) => this.path(server));
  }

  /** Bound under a name that nobody is told. A socket of a server that ended may have callers in its queue, so each start gets its own. */
  #listen(server: Port): OwnedFd {
    const socket = new OwnedFd(native.createSocket({ domain: family.unix, type: stream, protocol: 0 }));
    native.bindSocket({ fd: socket.fd, address: addressToSockaddr({ kind: 'unix', path: hidden(this.path(server)) }) });
    native.listenSocket({ fd: socket.fd, backlog });
    // A server that waits in accept() must wait; who has a loop makes it non-blocking itself.
    const nonBlocking = 0o4000;
    native.setStatusFlags({ fd: socket.fd, flags: native.getStatusFlags({ fd: socket.fd }) & ~nonBlocking });
    return socket;
  }
}

function hidden(path: string): string {
  return `${path}.new`;
}
