// SPDX-License-Identifier: Apache-2.0
// One broker, a program under it and an agent's bare channel, in a folder of its own: two such worlds can be asked the same and compared.
import { Journal } from '../../brokers/journal.ts';
import {
  decodeServerMessage,
  encodeRequest,
  journalBytes,
  protocolLimits,
  type Request,
} from '../../core/broker/protocol.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import { addressToSockaddr, parseAddress } from '../../core/policy/address/index.ts';
import type { ResolvedProfile } from '../../core/policy/types.ts';
import { native } from '../../native/index.ts';
import { readable } from '../native/fds.ts';
import { hex, newJournal, type ServedBroker, scratch, startBroker, startVictim, type Victim } from './rig.ts';

export interface Packet {
  readonly data: Buffer;
  readonly fds: number;
}

export class World {
  readonly folder: string;
  readonly broker: ServedBroker;
  readonly victim: Victim;
  readonly #scratch: ReturnType<typeof scratch>;
  readonly #listeners = new Map<string, OwnedFd>();
  readonly #journal: Journal;
  #agent: OwnedFd;
  #lastId = 0n;

  private constructor(
    folder: ReturnType<typeof scratch>,
    { broker, victim, agent, journal }: Pick<World, 'broker' | 'victim'> & { agent: OwnedFd; journal: Journal },
  ) {
    this.#scratch = folder;
    this.folder = folder.path;
    this.broker = broker;
    this.victim = victim;
    this.#agent = agent;
    this.#journal = journal;
  }

  static async start(profile: (folder: string) => ResolvedProfile, args: readonly string[] = []): Promise<World> {
    const folder = scratch();
    const memory = newJournal();
    const journal = new Journal(native.mapShared({ fd: memory.fd, bytes: journalBytes }));
    const broker = await startBroker(profile(folder.path), args, [], memory);
    const victim = await startVictim(broker.client);
    const agent = await broker.client.addAgent('world');
    memory.close();
    const world = new World(folder, { broker, victim, agent, journal });
    await world.packet();
    return world;
  }

  /** How many requests and calls flows have answered. */
  get byFlows(): number {
    return Number(this.#journal.byFlows[0]);
  }

  /** A socket that listens; the one before at this address is closed, its file stays. Nobody is accepted. */
  listen(address: string): OwnedFd {
    const bytes = addressToSockaddr(parseAddress(address));
    this.#listeners.get(address)?.close();
    const socket = new OwnedFd(native.createSocket({ domain: bytes[0] as number, type: 1, protocol: 0 }));
    native.bindSocket({ fd: socket.fd, address: bytes });
    native.listenSocket({ fd: socket.fd, backlog: 4096 });
    this.#listeners.set(address, socket);
    return socket;
  }

  /** How many have connected since this was last asked. */
  waiting(address: string): number {
    const { fd } = this.#listeners.get(address) as OwnedFd;
    for (let count = 0; ; count += 1) {
      const accepted = native.acceptConnection({ fd });
      if (accepted === undefined) return count;
      native.closeFd({ fd: accepted });
    }
  }

  /** A request with the next number, as bytes. */
  connectFrame(address: string): Uint8Array {
    this.#lastId += 1n;
    return encodeRequest({ type: 'connect', id: this.#lastId, address, timeoutMs: 1000 } satisfies Request);
  }

  send(frame: Uint8Array): void {
    native.sendMessage({ fd: this.#agent.fd, data: frame, fds: [] });
  }

  /** The next packet but events; undefined when the channel has ended. Its fds are closed. */
  async packet(): Promise<Packet | undefined> {
    for (;;) {
      const { fd } = this.#agent;
      const received = native.receiveMessage({ fd, maxBytes: protocolLimits.maxReplyBytes, maxFds: 2 });
      if (received.kind === 'end') return undefined;
      if (received.kind === 'again') {
        await readable(fd);
        continue;
      }
      for (const each of received.fds) native.closeFd({ fd: each });
      if (decodeServerMessage(received.data).type !== 'event') return { data: received.data, fds: received.fds.length };
    }
  }

  async ask(frame: Uint8Array): Promise<Packet | undefined> {
    this.send(frame);
    return await this.packet();
  }

  /** As an agent: what came back, without what differs from world to world. */
  async explicit(address: string): Promise<string> {
    const packet = await this.ask(this.connectFrame(address));
    return packet === undefined ? 'end' : `${packet.fds} ${this.#neutral(packet.data.toString('latin1'))}`;
  }

  /** A call of the program: `type` is that of its socket. */
  async transparent(address: string, type = 1, protocol = 0): Promise<string> {
    const bytes = addressToSockaddr(parseAddress(address));
    return await this.victim.ask(`connect ${bytes[0] as number} ${type} ${protocol} ${hex(bytes)}`);
  }

  /** A new agent's channel, in place of one that has ended. */
  async renewAgent(): Promise<void> {
    this.#agent.close();
    this.#agent = await this.broker.client.addAgent('world');
    this.#lastId = 0n;
    await this.packet();
  }

  /** Ends it. The trail, line by line, without times, and without what differs from world to world. */
  async end(): Promise<readonly string[]> {
    const victimTids = /"tid":(?!0\b)\d+/g;
    await this.victim.end();
    this.#agent.close();
    await this.broker[Symbol.asyncDispose]();
    for (const listener of this.#listeners.values()) listener.close();
    const log = await this.broker.log;
    this.#scratch[Symbol.dispose]();
    return this.#neutral(log)
      .replace(victimTids, '"tid":"T"')
      .replace(/"pid":\d+,|"time":"[^"]*",|,"us":\d+/g, '')
      .trimEnd()
      .split('\n');
  }

  #neutral(text: string): string {
    return text.replaceAll(this.folder, 'FOLDER').replaceAll(/ratchet-\w{6}/g, 'FOLDER');
  }
}
