// SPDX-License-Identifier: Apache-2.0
import { type BrokerEvent, encodeServerMessage, protocolLimits, type ServerMessage } from '../core/broker/protocol.ts';
import { OwnedFd } from '../core/owned-fd.ts';
import { type Begun, type Door, native, type Watch } from '../native/index.ts';
import type { Flows } from './flows.ts';

/** Packets that wait for a full socket: every outstanding result fits, and some events. */
const maxQueuedEvents = 128;

interface Outgoing {
  readonly data: Uint8Array;
  readonly fds: readonly OwnedFd[];
  readonly isEvent: boolean;
}

export interface ChannelHandlers {
  /** `fds` and what was begun are the callee's to close. A throw ends the channel. */
  readonly onPacket: (data: Buffer, fds: OwnedFd[], begun: Begun | undefined) => void;
  readonly onEnd: (error: unknown) => void;
}

/** The launcher's channel: packets in, packets out in order, nothing lost but events (and then it says how many). */
export class Channel {
  readonly #fd: number;
  readonly #flows: Flows;
  readonly #handlers: ChannelHandlers;
  /** Flows answer requests here, unless somebody has shut it. */
  readonly door: Door;
  readonly #lastId = sharedWord();
  readonly #shut = sharedWord();
  readonly #queue: Outgoing[] = [];
  #watch: Watch;
  #lostEvents = 0;
  #waitsForRoom = false;
  #ended = false;

  constructor(fd: number, flows: Flows, handlers: ChannelHandlers) {
    this.#fd = fd;
    this.#flows = flows;
    this.door = native.openRequestDoor({
      fd,
      maxBytes: protocolLimits.maxRequestBytes,
      lastId: this.#lastId,
      shut: this.#shut,
      trail: flows.trail,
    });
    flows.enter(this.door);
    this.#handlers = handlers;
    this.#watch = this.#listen(false);
  }

  /** Takes the fds. A message that cannot be written ends this channel, and nothing else. */
  send(message: ServerMessage, fds: readonly OwnedFd[] = []): void {
    let data: Uint8Array;
    try {
      data = encodeServerMessage(message);
    } catch (error) {
      for (const fd of fds) fd.close();
      this.#end(error);
      return;
    }
    this.#push({ data, fds, isEvent: false });
  }

  sendEvent(event: BrokerEvent): void {
    if (this.#queue.filter(({ isEvent }) => isEvent).length >= maxQueuedEvents) {
      this.#lostEvents += 1;
      return;
    }
    if (this.#lostEvents > 0) {
      const lost: BrokerEvent = {
        time: event.time,
        type: 'broker',
        what: 'events that the launcher did not read in time',
        count: this.#lostEvents,
      };
      this.#lostEvents = 0;
      this.#push({ data: encodeServerMessage({ type: 'event', event: lost }), fds: [], isEvent: true });
    }
    this.#push({ data: encodeServerMessage({ type: 'event', event }), fds: [], isEvent: true });
  }

  /** The greatest number of a request so far. */
  get lastId(): bigint {
    return this.#lastId[0] ?? 0n;
  }

  set lastId(id: bigint) {
    this.#lastId[0] = id;
  }

  /** No flow answers a request until it was opened as often as it was shut. */
  shutDoor(): void {
    this.#shut[0] = (this.#shut[0] ?? 0n) + 1n;
  }

  openDoor(): void {
    this.#shut[0] = (this.#shut[0] ?? 0n) - 1n;
  }

  /** Ends it from this side. */
  close(): void {
    this.#end(undefined);
  }

  #push(packet: Outgoing): void {
    if (this.#ended) {
      for (const fd of packet.fds) fd.close();
      return;
    }
    this.#queue.push(packet);
    if (this.#queue.length === 1) this.#flush();
  }

  #flush(): void {
    for (let next = this.#queue[0]; next !== undefined; next = this.#queue[0]) {
      let sent: number;
      try {
        sent = native.sendMessage({ fd: this.#fd, data: next.data, fds: next.fds.map(({ fd }) => fd) });
      } catch (error) {
        this.#end(error);
        return;
      }
      if (sent < 0) {
        // What flows answer must not overtake what waits.
        if (!this.#waitsForRoom) this.shutDoor();
        this.#waitsForRoom = true;
        this.#rewatch(true);
        return;
      }
      // The receiver's copy is on its way: ours goes now, or its peer would never see it close.
      for (const fd of next.fds) fd.close();
      this.#queue.shift();
    }
    if (this.#waitsForRoom) this.openDoor();
    this.#waitsForRoom = false;
  }

  #listen(writable: boolean): Watch {
    const onEvents = (events: { readonly readable: boolean; readonly writable: boolean; readonly hangup: boolean }) => {
      if (events.writable && this.#queue.length > 0) {
        this.#flush();
        if (this.#queue.length === 0 && !this.#ended) this.#rewatch(false);
      }
      if (events.readable || events.hangup) this.#receive();
    };
    return native.watchFd({ fd: this.#fd, readable: true, writable }, onEvents, this.door);
  }

  #rewatch(writable: boolean): void {
    this.#watch.close();
    this.#watch = this.#listen(writable);
  }

  /** Until nothing waits, or the door's turn is over. */
  #receive(): void {
    try {
      while (!this.#ended) {
        const received = native.receiveRequest({ door: this.door });
        if (received.kind === 'again') return;
        if (received.kind === 'end') {
          this.#end(undefined);
          return;
        }
        this.#handlers.onPacket(
          received.data,
          received.fds.map((fd) => new OwnedFd(fd)),
          received.begun,
        );
      }
    } catch (error) {
      this.#end(error);
    }
  }

  #end(error: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#watch.close();
    this.#flows.leave(this.door);
    for (const { fds } of this.#queue.splice(0)) for (const fd of fds) fd.close();
    this.#handlers.onEnd(isPeerGone(error) ? undefined : error);
  }
}

/** For the addon: memory that never moves, as that of a small array by itself might. */
function sharedWord(): BigUint64Array {
  return new BigUint64Array(new ArrayBuffer(BigUint64Array.BYTES_PER_ELEMENT));
}

/** The launcher closed its end, with or without having read everything: no fault of the conversation. */
function isPeerGone(error: unknown): boolean {
  const { code } = (error ?? {}) as { readonly code?: string };
  return code === 'EPIPE' || code === 'ECONNRESET';
}
