// SPDX-License-Identifier: Apache-2.0
import { type Deferred, deferred, withDeadline } from '../deferred.ts';
import { RatchetError } from '../errors.ts';
import type { OwnedFd } from '../owned-fd.ts';
import { FdChannel } from '../vmm/fd-channel.ts';
import { type QmpArguments, type QmpCommand, type QmpReply, qmpReplies } from './qmp-commands.ts';
import { closedError, QmpError } from './qmp-error.ts';
import { EventSubscription } from './qmp-events.ts';
import {
  LineSplitter,
  maxMessageBytes,
  parseMessage,
  type QemuVersion,
  type QmpEvent,
  type QmpMessage,
} from './qmp-message.ts';

export interface ExecuteOptions {
  /** Sent along as SCM_RIGHTS; they stay the caller's and must stay open until the command is answered. */
  readonly fds?: readonly number[];
  readonly timeoutMs?: number;
  /** A question that changes nothing: it may be sent while others like it wait for their answers. */
  readonly question?: boolean;
}

export interface QmpClientOptions {
  /** For every command that does not bring its own. */
  readonly timeoutMs?: number;
  readonly maxMessageBytes?: number;
}

interface Pending {
  readonly id: number;
  readonly command: string;
  readonly line: Uint8Array;
  readonly fds: readonly number[];
  readonly question: boolean;
  readonly reply: Deferred<unknown>;
}

const defaultTimeoutMs = 30_000;

/**
 * A client of QEMU's machine protocol over an inherited stream socket, which it owns from now on.
 *
 * Commands are sent one at a time. QEMU executes them in order anyway (without out-of-band execution), and it keeps only the descriptors
 * of the latest message that brought any, so a second command with fds could otherwise overtake the first. One that is given up before its turn
 * is never executed. Questions, to which neither matters, are sent together.
 */
export class QmpClient {
  readonly #channel: FdChannel;
  readonly #splitter: LineSplitter;
  readonly #timeoutMs: number;
  readonly #greeting: Deferred<QemuVersion> = deferred();
  readonly #subscriptions = new Set<EventSubscription>();
  #queue: Pending[] = [];
  /** Not answered yet, in their order. */
  #sent: Pending[] = [];
  #lastId = 0;
  #closed: Error | undefined;

  constructor(socket: OwnedFd, options: QmpClientOptions = {}) {
    this.#timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
    this.#splitter = new LineSplitter(options.maxMessageBytes ?? maxMessageBytes);
    this.#greeting.promise.catch(() => undefined);
    this.#channel = new FdChannel(
      socket,
      { data: (chunk) => this.#onData(chunk), ended: (reason) => this.#onEnd(reason) },
      (why, cause) => closedError(`QEMU's monitor ${why}: QEMU has ended`, cause),
    );
  }

  /** Why the monitor is closed; undefined while it is open. */
  get closedReason(): Error | undefined {
    return this.#closed;
  }

  /** QEMU's greeting, and the negotiation that must come before any other command. */
  async negotiate(timeoutMs: number = this.#timeoutMs): Promise<QemuVersion> {
    const late = (): RatchetError =>
      new RatchetError('QMP_TIMEOUT', `QEMU did not greet its monitor within ${timeoutMs} ms`, {
        next: 'look at its stderr; it may be waiting for something',
      });
    const version = await withDeadline(this.#greeting.promise, timeoutMs, late);
    await this.execute('qmp_capabilities', {}, { timeoutMs });
    return version;
  }

  /**
   * Executes a command that ratchet knows.
   * @throws RatchetError QMP_ERROR (a QmpError), QMP_TIMEOUT, QMP_CLOSED; each names the command.
   */
  async execute<Name extends QmpCommand>(
    command: Name,
    commandArguments: QmpArguments<Name>,
    options: ExecuteOptions = {},
  ): Promise<QmpReply<Name>> {
    const value = await this.executeAny(command, commandArguments, options);
    const parsed = qmpReplies[command].safeParse(value);
    if (!parsed.success)
      throw new QmpError(
        command,
        'UnexpectedReply',
        `its reply has not the documented form (${parsed.error.issues[0]?.message})`,
      );
    return parsed.data as QmpReply<Name>;
  }

  /** Executes any command. The reply is whatever QEMU sent. */
  async executeAny(
    command: string,
    commandArguments: Readonly<Record<string, unknown>> = {},
    options: ExecuteOptions = {},
  ): Promise<unknown> {
    if (this.#closed !== undefined) throw this.#closedFor(command, this.#closed);
    const id = ++this.#lastId;
    // QEMU reads its monitor byte by byte, some 5 us each.
    const given = Object.keys(commandArguments).length === 0 ? {} : { arguments: commandArguments };
    const line = Buffer.from(`${JSON.stringify({ execute: command, ...given, id })}\n`);
    const { fds = [], question = false } = options;
    const pending: Pending = { id, command, line, fds, question, reply: deferred() };
    this.#queue.push(pending);
    this.#sendNext();
    const timeoutMs = options.timeoutMs ?? this.#timeoutMs;
    const late = (): RatchetError => {
      this.#forget(pending);
      return new RatchetError('QMP_TIMEOUT', `QEMU did not answer ${command} within ${timeoutMs} ms`);
    };
    return await withDeadline(pending.reply.promise, timeoutMs, late);
  }

  /** All events, or those with the given names, from now on. */
  subscribe(names?: readonly string[]): EventSubscription {
    const subscription = new EventSubscription(names, (closed) => this.#subscriptions.delete(closed));
    if (this.#closed === undefined) this.#subscriptions.add(subscription);
    else subscription.end(this.#closed);
    return subscription;
  }

  /** Every event from now on. */
  get events(): AsyncIterable<QmpEvent> {
    return this.subscribe();
  }

  /**
   * Waits for one event. Listens from the call on: call it before the command that causes the event, await it after.
   * @throws RatchetError QMP_TIMEOUT naming the event, QMP_CLOSED.
   */
  waitForEvent(
    name: string,
    predicate: (event: QmpEvent) => boolean = () => true,
    timeoutMs: number = this.#timeoutMs,
  ): Promise<QmpEvent> {
    const subscription = this.subscribe([name]);
    const event = subscription.next(predicate, timeoutMs).finally(() => subscription.close());
    // It may be awaited late, or never when the command failed.
    event.catch(() => undefined);
    return event;
  }

  close(): void {
    this.#channel.close(closedError("QEMU's monitor was closed by us"));
  }

  #sendNext(): void {
    for (;;) {
      const next = this.#queue[0];
      if (next === undefined) return;
      if (this.#sent.length > 0 && ![...this.#sent, next].every(({ question }) => question)) return;
      this.#queue.shift();
      this.#sent.push(next);
      this.#channel.send(next.line, next.fds);
    }
  }

  #forget(pending: Pending): void {
    const others = (some: readonly Pending[]): Pending[] => some.filter((other) => other !== pending);
    this.#queue = others(this.#queue);
    this.#sent = others(this.#sent);
    this.#sendNext();
  }

  #onData(chunk: Buffer): void {
    for (const line of this.#splitter.push(chunk)) {
      const message = parseMessage(line);
      if (message !== undefined) this.#onMessage(message);
    }
  }

  #onMessage(message: QmpMessage): void {
    switch (message.kind) {
      case 'greeting':
        this.#greeting.resolve(message.version);
        break;
      case 'event':
        for (const subscription of this.#subscriptions) subscription.deliver(message.event);
        break;
      case 'return':
        this.#settle(message.id, ({ reply }) => reply.resolve(message.value));
        break;
      case 'error': {
        const { id, qmpClass, description } = message;
        // QEMU sends an error without id when it could not read the command; only the first in flight can be meant.
        this.#settle(id ?? this.#sent[0]?.id, ({ command, reply }) => {
          reply.reject(new QmpError(command, qmpClass, description));
        });
        break;
      }
    }
  }

  #settle(id: number | undefined, act: (pending: Pending) => void): void {
    const pending = this.#sent.find((sent) => sent.id === id);
    // The answer to a command that was given up.
    if (pending === undefined) return;
    act(pending);
    this.#forget(pending);
  }

  #onEnd(reason: Error): void {
    this.#closed = reason;
    const waiting = [...this.#sent, ...this.#queue];
    this.#sent = [];
    this.#queue = [];
    this.#greeting.reject(reason);
    for (const pending of waiting) pending.reply.reject(this.#closedFor(pending.command, reason));
    for (const subscription of this.#subscriptions) subscription.end(reason);
    this.#subscriptions.clear();
  }

  #closedFor(command: string, reason: Error): RatchetError {
    return closedError(`${command} was not answered: ${reason.message}`, reason);
  }
}
