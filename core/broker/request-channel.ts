// SPDX-License-Identifier: Apache-2.0
// The broker channel with the requests that are under way on it. Every request settles: with its result, at its deadline, or at once when the channel ends.
import { type NativeError, native, type Received, type Watch } from '../../native/index.ts';
import { type Deferred, deferred } from '../deferred.ts';
import { RatchetError } from '../errors.ts';
import { OwnedFd } from '../owned-fd.ts';
import { EventQueue } from './event-queue.ts';
import {
  type BrokerEvent,
  decodeServerMessage,
  encodeRequest,
  type Hello,
  type OkValue,
  protocolLimits,
  type Request,
  type RequestType,
  type Result,
  type ServerMessage,
  type StartOrder,
} from './protocol.ts';
import { died, errorOf, selfFailed, timedOut, unexpected } from './request-errors.ts';

/** How long after the broker's own deadline the client gives up. Covers the way there and back. */
const graceMs = 1000;

/** How many fds a result carries; that of `exec` as many as its value says. */
const fdsOf: Readonly<Partial<Record<RequestType, number>>> = {
  connect: 1,
  bind: 1,
  open: 1,
  tap: 1,
  device: 1,
  memory: 1,
  terminal: 2,
  pair: 2,
};

/** What the broker wants started: by this name, with these fds as its streams, which are the callee's. */
export interface ProgramOrder extends Omit<StartOrder, 'type'> {
  readonly fds: readonly OwnedFd[];
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;
export type RequestBody = DistributiveOmit<Request, 'id'>;

export interface Answer {
  readonly value: OkValue;
  readonly fds: readonly OwnedFd[];
}

interface Pending {
  readonly type: RequestType;
  readonly subject: string;
  readonly timer: NodeJS.Timeout;
  readonly answer: Deferred<Answer>;
}

/** Owns the channel fd. */
export class RequestChannel {
  /** What the broker reports unasked; ends with the channel. */
  readonly events = new EventQueue<BrokerEvent>();
  /** Settles when the channel has ended, with the reason when that was not `close()`. Never rejects. */
  readonly closed: Promise<RatchetError | undefined>;
  readonly #channel: OwnedFd;
  readonly #onOrder: (order: ProgramOrder) => void;
  readonly #watch: Watch;
  readonly #pending = new Map<bigint, Pending>();
  readonly #hello = deferred<Hello>();
  readonly #closed = deferred<RatchetError | undefined>();
  #greeted = false;
  #nextId = 1n;
  #over = false;

  constructor(channelFd: number, onOrder: (order: ProgramOrder) => void) {
    this.#channel = new OwnedFd(channelFd);
    this.#onOrder = onOrder;
    this.closed = this.#closed.promise;
    this.#hello.promise.catch(() => undefined);
    this.#watch = native.watchFd({ fd: channelFd, readable: true, writable: false }, () => this.#receiveAll());
  }

  /** The broker's hello, once it serves. @throws RatchetError BROKER_DIED, BROKER_PROTOCOL. */
  ready(): Promise<Hello> {
    return this.#hello.promise;
  }

  /** What it is answered. `payload` is the fd that goes along; it stays the caller's. @throws RatchetError. */
  async request(body: RequestBody, subject: string, timeoutMs: number, payload?: () => OwnedFd): Promise<Answer> {
    if (this.#over) throw died(subject);
    const id = this.#nextId++;
    const answer: Pending['answer'] = deferred();
    const timer = setTimeout(() => {
      this.#pending.delete(id);
      answer.reject(timedOut(subject, timeoutMs));
    }, timeoutMs + graceMs);
    this.#pending.set(id, { type: body.type, subject, timer, answer });
    try {
      this.#send(encodeRequest({ ...body, id }), payload === undefined ? [] : [payload().fd]);
    } catch (error) {
      this.#pending.delete(id);
      clearTimeout(timer);
      throw sendFailed(subject, error);
    }
    return await answer.promise;
  }

  /** What is pending is rejected. `reason`: why, when nobody asked for it. */
  close(reason?: RatchetError): void {
    if (this.#over) return;
    this.#over = true;
    this.#watch.close();
    this.#channel.close();
    this.#hello.reject(reason ?? died('the hello'));
    for (const { subject, timer, answer } of this.#pending.values()) {
      clearTimeout(timer);
      answer.reject(died(subject, reason));
    }
    this.#pending.clear();
    this.events.close();
    this.#closed.resolve(reason);
  }

  #send(data: Uint8Array, fds: readonly number[]): void {
    if (data.length > protocolLimits.maxRequestBytes)
      throw new RatchetError('ARGUMENT_INVALID', `a request of ${data.length} bytes`, {
        next: `stay below ${protocolLimits.maxRequestBytes}`,
      });
    if (native.sendMessage({ fd: this.#channel.fd, data, fds }) < 0)
      throw new RatchetError('BROKER_TIMEOUT', 'the broker does not read its channel', {
        errno: 'EAGAIN',
        next: 'wait for earlier requests',
      });
  }

  #receiveAll(): void {
    try {
      // A bounded burst, so that a flood of events leaves room for the rest of the program.
      for (let burst = 0; burst < 64 && !this.#over; burst += 1) {
        const received = native.receiveMessage({
          fd: this.#channel.fd,
          maxBytes: protocolLimits.maxReplyBytes,
          maxFds: 3,
        });
        if (received.kind === 'again') return;
        if (received.kind === 'end') {
          this.close(died('the channel'));
          return;
        }
        this.#accept(received);
      }
    } catch (error) {
      this.close(error instanceof RatchetError ? error : died('the channel', error));
    }
  }

  #accept(received: Extract<Received, { kind: 'message' }>): void {
    const fds = received.fds.map((fd) => new OwnedFd(fd));
    try {
      this.#dispatch(decodeServerMessage(received.data), fds);
    } finally {
      // Whatever was not taken by then belongs to nobody.
      for (const fd of fds) fd.close();
    }
  }

  #dispatch(message: ServerMessage, fds: OwnedFd[]): void {
    const isFirst = message.type === 'hello' || message.type === 'unconfined';
    if (isFirst === this.#greeted) throw unexpected(`a ${message.type} message out of turn`);
    switch (message.type) {
      case 'hello':
        if (fds.length > 0) throw unexpected('an fd with the hello');
        this.#greeted = true;
        this.#hello.resolve(message);
        return;
      case 'unconfined':
        throw selfFailed(message);
      case 'event':
        if (fds.length > 0) throw unexpected('an fd with an event');
        this.events.push(message.event);
        return;
      case 'start':
        this.#order(message, fds);
        return;
      case 'result':
        this.#settle(message, fds);
    }
  }

  #order({ number, program }: StartOrder, fds: OwnedFd[]): void {
    if (fds.length < 1 || fds.length > 2) throw unexpected(`${fds.length} fds with a program to start`);
    this.#onOrder({ number, program, fds: fds.map((fd) => new OwnedFd(fd.release())) });
  }

  #settle(result: Result, fds: OwnedFd[]): void {
    const pending = this.#pending.get(result.id);
    if (pending === undefined) {
      // Timed out here before; its fd, if any, is closed by the caller. An id that was never given out is another matter.
      if (result.id < this.#nextId) return;
      throw unexpected(`a result for request ${result.id}, which was not made`);
    }
    const wanted = result.class === 'ok' ? fdsOfResult(pending.type, result.value) : 0;
    if (fds.length !== wanted) throw unexpected(`${fds.length} fds with the result of ${pending.subject}`);
    this.#pending.delete(result.id);
    clearTimeout(pending.timer);
    if (result.class !== 'ok') {
      pending.answer.reject(errorOf(result, pending.subject));
      return;
    }
    pending.answer.resolve({ value: result.value, fds: fds.map((fd) => new OwnedFd(fd.release())) });
  }
}

function fdsOfResult(type: RequestType, { program }: OkValue): number {
  // The pidfd comes first.
  if (type === 'exec') return 1 + (program?.streams.length ?? 0);
  return fdsOf[type] ?? 0;
}

function sendFailed(subject: string, error: unknown): unknown {
  if (error instanceof RatchetError) return error;
  const { code } = error as NativeError;
  return code === 'EPIPE' || code === 'ECONNRESET' ? died(subject, error) : error;
}
