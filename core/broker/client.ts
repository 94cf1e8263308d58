// SPDX-License-Identifier: Apache-2.0
// The launcher's end of the broker channel: what can be asked of a broker, by name.
import { constants } from 'node:os';
import { native } from '../../native/index.ts';
import { RatchetError } from '../errors.ts';
import { OwnedFd } from '../owned-fd.ts';
import { formatAddress, parseAddress, parseNamedAddress } from '../policy/address/index.ts';
import { type PairKind, parseTapRule } from '../policy/resource.ts';
import type { EventQueue } from './event-queue.ts';
import {
  type BrokerEvent,
  type BrokerStatus,
  clip,
  type Hello,
  protocolLimits,
  type Request,
  type RequestType,
} from './protocol.ts';
import { refuseFds } from './refuse-fds.ts';
import { type Answer, type ProgramOrder, type RequestBody, RequestChannel } from './request-channel.ts';
import { unexpected } from './request-errors.ts';

export type { ProgramOrder };

const enosys = constants.errno.ENOSYS;
const defaultTimeoutMs = 10_000;
/** Above the time that the broker gives the launcher for a start. */
const startTimeoutMs = 12_000;

/** A program that runs for the VM. The fds are the caller's. */
export interface ExecResult {
  readonly pid: number;
  /** By which the launcher knows it. */
  readonly number: number;
  readonly pidfd: OwnedFd;
  /** Ours of the streams that are no files. */
  readonly streams: Readonly<Partial<Record<'stdin' | 'stdout' | 'socket', OwnedFd>>>;
}

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
  readonly events: EventQueue<BrokerEvent>;
  /** Settles when the channel has ended, with the reason when that was not `close()`. Never rejects. */
  readonly closed: Promise<RatchetError | undefined>;
  /** Starts programs for the broker. Without one each is answered ENOSYS. */
  onStart: ((order: ProgramOrder) => void) | undefined;
  readonly #requests: RequestChannel;

  constructor(channelFd: number) {
    this.#requests = new RequestChannel(channelFd, (order) => this.#order(order));
    this.events = this.#requests.events;
    this.closed = this.#requests.closed;
  }

  /** The broker's hello, once it serves. @throws RatchetError SELF_FAILED, BROKER_DIED, BROKER_PROTOCOL. */
  ready(): Promise<Hello> {
    return this.#requests.ready();
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

  /** When the broker has taken from itself what the stage demands that it was moved to. */
  async settled(): Promise<void> {
    await this.#request({ type: 'settle' }, 'settle');
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
    this.#requests.close();
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
    return await this.#requests.request(body, subject, timeoutMs, payload);
  }

  #order(order: ProgramOrder): void {
    if (this.onStart !== undefined) {
      this.onStart(order);
      return;
    }
    for (const fd of order.fds) fd.close();
    // A broker that is gone needs no answer.
    void this.programEnded(order.number, 'this launcher starts no programs', enosys).catch(() => undefined);
  }
}

/** A name goes to the broker as it is: it knows what it was found to mean. */
function canonical(address: string): string {
  return parseNamedAddress(address) === undefined ? formatAddress(parseAddress(address)) : address;
}

function takeFd(fd: OwnedFd | undefined): OwnedFd {
  if (fd === undefined) throw unexpected('a result without its fd');
  return fd;
}
