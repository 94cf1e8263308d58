// SPDX-License-Identifier: Apache-2.0
// The launcher's end of the broker channel. Every request settles: with its result, at its deadline, or at once when the channel ends.
import { constants } from 'node:os';
import { type NativeError, native, type Received, type Watch } from '../../native/index.ts';
import { type Deferred, deferred } from '../deferred.ts';
import { errnoName } from '../errno-name.ts';
import { RatchetError } from '../errors.ts';
import { OwnedFd } from '../owned-fd.ts';
import { formatAddress, parseAddress, parseNamedAddress } from '../policy/address/index.ts';
import { type PairKind, parseTapRule } from '../policy/resource.ts';
import { EventQueue } from './event-queue.ts';
import {
  type BrokerEvent,
  type BrokerStatus,
  clip,
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
import { refuseFds } from './refuse-fds.ts';

/** How long after the broker's own deadline the client gives up. Covers the way there and back. */
const graceMs = 1000;
const enosys = constants.errno.ENOSYS;
const defaultTimeoutMs = 10_000;
/** Above the time that the broker gives the launcher for a start. */
const startTimeoutMs = 12_000;

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

/** A program that runs for the VM. The fds are the caller's. */
export interface ExecResult {
  readonly pid: number;
  /** By which the launcher knows it. */
  readonly number: number;
  readonly pidfd: OwnedFd;
  /** Ours of the streams that are no files. */
  readonly streams: Readonly<Partial<Record<'stdin' | 'stdout' | 'socket', OwnedFd>>>;
}

interface Answer {
  readonly value: OkValue;
  readonly fds: readonly OwnedFd[];
}

interface Pending {
  readonly type: RequestType;
  readonly subject: string;
  readonly timer: NodeJS.Timeout;
  readonly answer: Deferred<Answer>;
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;
type RequestBody = DistributiveOmit<Request, 'id'>;
type OptionsOf<T extends RequestType, K extends PropertyKey> = Partial<
  Omit<Extract<Request, { type: T }>, 'id' | 'type' | K>
>;
export type ConnectOptions = OptionsOf<'connect', 'address'>;
export type BindOptions = OptionsOf<'bind', 'address'>;
export type OpenOptions = OptionsOf<'open', 'path' | 'access'>;
export type TapOptions = OptionsOf<'tap', 'name'>;
export type ExecOptions = OptionsOf<'exec', 'program'>;
export type Seal = NonNullable<Extract<Request, { type: 'memory' }>['seals']>[number];
export type RolesOfThreads = Pick<Extract<Request, { type: 'threads' }>, 'least' | 'threads'>;
export type GrantRequest = Omit<Extract<Request, { type: 'grant' }>, 'id' | 'type'>;

/** Owns the channel fd. */
export class BrokerClient {
  /** What the broker reports unasked; ends with the channel. Each reader gets every event from when it starts to read. */
  readonly events = new EventQueue<BrokerEvent>();
  /** Settles when the channel has ended, with the reason when that was not `close()`. Never rejects. */
  readonly closed: Promise<RatchetError | undefined>;
  /** Starts programs for the broker. Without one each is answered ENOSYS. */
  onStart: ((order: ProgramOrder) => void) | undefined;
  readonly #channel: OwnedFd;
  readonly #watch: Watch;
  readonly #pending = new Map<bigint, Pending>();
  readonly #hello = deferred<Hello>();
  readonly #closed = deferred<RatchetError | undefined>();
  #greeted = false;
  #nextId = 1n;
  #over = false;

  constructor(channelFd: number) {
    this.#channel = new OwnedFd(channelFd);
    this.closed = this.#closed.promise;
    this.#hello.promise.catch(() => undefined);
    this.#watch = native.watchFd({ fd: channelFd, readable: true, writable: false }, () => this.#receiveAll());
  }

  /** The broker's hello, once it serves. @throws RatchetError BROKER_DIED, BROKER_PROTOCOL. */
  ready(): Promise<Hello> {
    return this.#hello.promise;
  }

  /** A connected stream socket, blocking. @throws RatchetError ADDRESS_INVALID, REQUEST_REFUSED, REQUEST_FAILED, BROKER_TIMEOUT, BROKER_DIED. */
  async connect(address: string, options: ConnectOptions = {}): Promise<OwnedFd> {
    const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
    return await this.#requestFd(
      { type: 'connect', ...options, address: canonical(address), timeoutMs },
      `connect ${address}`,
      timeoutMs,
    );
  }

  /** A bound socket, blocking; listening when `backlog` is above 0. */
  async bind(address: string, options: BindOptions = {}): Promise<OwnedFd> {
    return await this.#requestFd(
      { type: 'bind', ...options, address: formatAddress(parseAddress(address)), backlog: options.backlog ?? 0 },
      `bind ${address}`,
    );
  }

  /** An open file. `create` makes it (mode 0600 by default) when the rules let it be written. */
  async open(path: string, access: 'ro' | 'rw' | 'wo' = 'ro', options: OpenOptions = {}): Promise<OwnedFd> {
    return await this.#requestFd({ type: 'open', ...options, path, access }, `open ${path} (${access})`);
  }

  /** A tap device, up, with IFF_VNET_HDR. A name that ends in %d takes a free number, `NAME@BRIDGE` becomes a port of the bridge. */
  async tap(name: string, options: TapOptions = {}): Promise<{ readonly fd: OwnedFd; readonly name: string }> {
    const { bridge, ...own } = parseTapRule(name);
    const wanted = { ...(bridge === undefined ? {} : { bridge }), ...options, name: own.name };
    const { value, fds } = await this.#request({ type: 'tap', ...wanted }, `tap ${name}`);
    return { fd: takeFd(fds[0]), name: value.name ?? name };
  }

  /** A device by its number. */
  async device(
    kind: 'char' | 'block',
    [major, minor]: readonly [number, number],
    access: 'ro' | 'rw' | 'wo' = 'rw',
  ): Promise<OwnedFd> {
    return await this.#requestFd(
      { type: 'device', kind, major, minor, access },
      `device ${kind}:${major}:${minor} (${access})`,
    );
  }

  /** A memory file of zeros. Sealed against `grow` and `shrink` it can be shared without fear of SIGBUS. */
  async memory(bytes: number, seals: readonly Seal[] = ['shrink', 'grow', 'seal']): Promise<OwnedFd> {
    return await this.#requestFd({ type: 'memory', bytes, seals: [...seals] }, `memory of ${bytes} bytes`);
  }

  /** A pseudo-terminal, both sides; `name` is that of `peer`. */
  async terminal(): Promise<{ readonly controller: OwnedFd; readonly peer: OwnedFd; readonly name: string }> {
    const { value, fds } = await this.#request({ type: 'terminal' }, 'terminal');
    return { controller: takeFd(fds[0]), peer: takeFd(fds[1]), name: value.name ?? '' };
  }

  /**
   * One of the profile's programs. `input` and `output` are files in place of its streams, granted by `open` rules.
   * @throws RatchetError REQUEST_REFUSED, REQUEST_FAILED, BROKER_TIMEOUT, BROKER_DIED.
   */
  async exec(program: string, options: ExecOptions = {}): Promise<ExecResult> {
    const { value, fds } = await this.#request(
      { type: 'exec', ...options, program },
      `exec ${program}`,
      startTimeoutMs,
    );
    if (value.program === undefined) throw unexpected('a program without its number');
    const { pid, number, streams } = value.program;
    const [pidfd, ...ours] = fds;
    return {
      pid,
      number,
      pidfd: takeFd(pidfd),
      streams: Object.fromEntries(streams.map((name, at) => [name, ours[at]])),
    };
  }

  /** The answer to an order: the program runs. The fd stays the caller's. */
  async programStarted(number: number, pid: number, pidfd: OwnedFd): Promise<void> {
    await this.#request({ type: 'started', number, pid }, `program ${number}`, defaultTimeoutMs, () => pidfd);
  }

  /** It could not be started (`errno`), or has ended. */
  async programEnded(number: number, what: string, errno?: number): Promise<void> {
    const failure = errno === undefined ? {} : { errno };
    await this.#request({ type: 'ended', number, what: clip(what), ...failure }, `program ${number}`);
  }

  /** Two connected unix sockets. */
  async pair(kind: PairKind): Promise<readonly [OwnedFd, OwnedFd]> {
    const { fds } = await this.#request({ type: 'pair', kind }, `${kind} pair`);
    return [takeFd(fds[0]), takeFd(fds[1])];
  }

  /** Removes the file of a unix socket that was bound for this VM. */
  async release(address: string): Promise<void> {
    await this.#request({ type: 'release', address: formatAddress(parseAddress(address)) }, `release ${address}`);
  }

  /** Grants more, within what the profile lets the launcher grant. The number is for `revoke`. @throws RatchetError REQUEST_REFUSED. */
  async grant(terms: GrantRequest): Promise<number> {
    const { value } = await this.#request({ type: 'grant', ...terms }, `grant ${terms.request} ${terms.target}`);
    if (value.grant === undefined) throw unexpected('a grant without its number');
    return value.grant;
  }

  /** False when it had ended before. */
  async revoke(grant: number): Promise<boolean> {
    try {
      await this.#request({ type: 'revoke', grant }, `revoke grant ${grant}`);
      return true;
    } catch (error) {
      if (error instanceof RatchetError && error.code === 'REQUEST_FAILED' && error.errno === 'ENOENT') return false;
      throw error;
    }
  }

  /** Moves the broker to a later stage; from the answer on it judges by that stage alone. */
  async enterStage(epoch: number): Promise<void> {
    await this.#request({ type: 'stage', epoch }, `stage ${epoch}`);
  }

  /** Which threads have which role, and how many filters a thread in a role has at least. All that it knew before is forgotten. */
  async tellThreads({ least, threads }: RolesOfThreads): Promise<void> {
    const { maxThreads } = protocolLimits;
    for (let from = 0; from === 0 || from < threads.length; from += maxThreads)
      await this.#request(
        { type: 'threads', startAnew: from === 0, least, threads: threads.slice(from, from + maxThreads) },
        'tell of threads',
      );
  }

  /** Gives the seccomp listener to the broker. Takes ownership, unless it is to be kept: who keeps a copy must take over when the broker dies, or the VMM hangs. */
  async attachListener(listener: OwnedFd, options: { readonly keep?: boolean } = {}): Promise<void> {
    try {
      await this.#request({ type: 'attachListener' }, 'attach listener', defaultTimeoutMs, () => listener);
    } finally {
      if (options.keep !== true) listener.close();
    }
  }

  /** Another client's channel, for what the rules judge and nothing else. The fd is that client's end. */
  async addAgent(name: string): Promise<OwnedFd> {
    const [ours, theirs] = native.socketPair({ type: 'seqpacket' });
    const agentEnd = new OwnedFd(ours);
    using brokerEnd = new OwnedFd(theirs);
    try {
      refuseFds(brokerEnd);
      await this.#request({ type: 'agent', name }, `agent ${name}`, defaultTimeoutMs, () => brokerEnd);
      return agentEnd;
    } catch (error) {
      agentEnd.close();
      throw error;
    }
  }

  /** Agents of these users may come by this listening seqpacket socket. The fd stays the caller's. */
  async acceptAgents(listening: OwnedFd, name: string, users: readonly number[]): Promise<void> {
    await this.#request(
      { type: 'agents', name, users: [...users] },
      `agents ${name}`,
      defaultTimeoutMs,
      () => listening,
    );
  }

  /** Gives the broker another file for its log. The fd stays the caller's. */
  async log(file: OwnedFd): Promise<void> {
    await this.#request({ type: 'log' }, 'log', defaultTimeoutMs, () => file);
  }

  async status(): Promise<BrokerStatus> {
    const { value } = await this.#request({ type: 'status' }, 'status');
    if (value.status === undefined) throw new RatchetError('BROKER_PROTOCOL', 'a status reply without a status');
    return value.status;
  }

  /** Asks the broker to end; resolves when it says that it will. */
  async shutdown(): Promise<void> {
    await this.#request({ type: 'shutdown' }, 'shutdown');
  }

  /** Ends the channel; the broker cleans up and exits. What is pending is rejected. */
  close(): void {
    this.#end(undefined);
  }

  async #requestFd(body: RequestBody, subject: string, timeoutMs = defaultTimeoutMs): Promise<OwnedFd> {
    return takeFd((await this.#request(body, subject, timeoutMs)).fds[0]);
  }

  async #request(
    body: RequestBody,
    subject: string,
    timeoutMs = defaultTimeoutMs,
    payload?: () => OwnedFd,
  ): Promise<Answer> {
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
          this.#end(died('the channel'));
          return;
        }
        this.#accept(received);
      }
    } catch (error) {
      this.#end(error instanceof RatchetError ? error : died('the channel', error));
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
    if ((message.type === 'hello') === this.#greeted) throw unexpected(`a ${message.type} message out of turn`);
    switch (message.type) {
      case 'hello':
        if (fds.length > 0) throw unexpected('an fd with the hello');
        this.#greeted = true;
        this.#hello.resolve(message);
        return;
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
    if (this.onStart !== undefined) this.onStart({ number, program, fds: fds.map((fd) => new OwnedFd(fd.release())) });
    // A broker that is gone needs no answer.
    else void this.programEnded(number, 'this launcher starts no programs', enosys).catch(() => undefined);
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

  #end(reason: RatchetError | undefined): void {
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
}

function fdsOfResult(type: RequestType, { program }: OkValue): number {
  // The pidfd comes first.
  if (type === 'exec') return 1 + (program?.streams.length ?? 0);
  return fdsOf[type] ?? 0;
}

/** A name goes to the broker as it is: it knows what it was found to mean. */
function canonical(address: string): string {
  return parseNamedAddress(address) === undefined ? formatAddress(parseAddress(address)) : address;
}

function takeFd(fd: OwnedFd | undefined): OwnedFd {
  if (fd === undefined) throw unexpected('a result without its fd');
  return fd;
}

function errorOf(result: Exclude<Result, { class: 'ok' }>, subject: string): RatchetError {
  const next = result.next === undefined ? {} : { next: result.next };
  switch (result.class) {
    case 'denied': {
      const rule =
        result.rule === null
          ? 'no rule grants it'
          : `rule ${result.rule.file}:${result.rule.line} (${result.rule.why})`;
      return new RatchetError('REQUEST_REFUSED', `${subject}: refused by the profile, ${rule}; ${result.what}`, {
        errno: errnoName(result.errno),
        ...(result.fix === null ? next : { next: `to permit it, add to the stage's broker rules: ${result.fix}` }),
      });
    }
    case 'stage':
      return new RatchetError('REQUEST_REFUSED', `${subject}: ${result.what}`, next);
    case 'busy':
      return new RatchetError('BROKER_TIMEOUT', `${subject}: ${result.what}`, { errno: 'EBUSY', ...next });
    case 'timeout':
      return new RatchetError('BROKER_TIMEOUT', `${subject}: ${result.what}`, { errno: 'ETIMEDOUT', ...next });
    case 'errno':
      return new RatchetError('REQUEST_FAILED', `${subject}: ${result.what}`, {
        errno: errnoName(result.errno),
        ...next,
      });
  }
}

function died(subject: string, cause?: unknown): RatchetError {
  return new RatchetError('BROKER_DIED', `${subject}: the broker is gone`, {
    next: 'the VMM goes on without brokered calls; start a new VM to have them again',
    ...(cause === undefined ? {} : { cause }),
  });
}

function timedOut(subject: string, timeoutMs: number): RatchetError {
  return new RatchetError('BROKER_TIMEOUT', `${subject}: no answer from the broker within ${timeoutMs} ms`, {
    errno: 'ETIMEDOUT',
    next: 'try again, or look at its log',
  });
}

function unexpected(what: string): RatchetError {
  return new RatchetError('BROKER_PROTOCOL', `the broker sent ${what}`);
}

function sendFailed(subject: string, error: unknown): unknown {
  if (error instanceof RatchetError) return error;
  const { code } = error as NativeError;
  return code === 'EPIPE' || code === 'ECONNRESET' ? died(subject, error) : error;
}
