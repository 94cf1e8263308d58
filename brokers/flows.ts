// SPDX-License-Identifier: Apache-2.0
// The flow cache. A connection that was judged here is put into the addon as a *flow*: the exact request, and what was done for it. The same request is then
// answered there (native/sys/request_door.h, call_door.h) without a line of this program running. A flow is only made of a verdict that will be the same until the stage
// changes, and every flow is gone before anything that could change a verdict is answered.
import type { Address } from '../core/policy/address/index.ts';
import type { BrokerRule } from '../core/policy/types.ts';
import { type Door, type FlowRecord, type FlowTarget, native } from '../native/index.ts';
import { targetText, type Wish } from './judge.ts';
import type { Asker, Reporter } from './reporter.ts';
import { pinnedSockaddr, pinSocket } from './unix-pin.ts';

/** What a flow does, in the words of the trail, and for what goes on in TypeScript. */
export interface Flow {
  readonly door: Door;
  readonly address: Address;
  readonly family: number;
  readonly wish: Extract<Wish, { request: 'connect' }>;
  readonly rule: BrokerRule;
  readonly stage: string;
  /** Of a request; a call's own is in its record. */
  readonly asker: Asker | undefined;
}

/** All doors together. Each may hold a descriptor. */
export const maxFlows = 64;
/** Requests that were seen once: only what comes again becomes a flow. */
const maxSeen = 256;
/** A flow keeps the inode of a unix socket, and its file system busy. */
const idleMs = 10_000;
/** Decisions that wait to be told. */
const maxRecords = 256;
/** Time for the one who asked to go on, before the trail is written. */
const tellDelayMs = 1;

export class Flows {
  readonly #trail: unknown;
  readonly #served: BigUint64Array;
  /** On memory of its own, which never moves: the addon reads it. */
  readonly #tellFrom = new BigUint64Array(new ArrayBuffer(BigUint64Array.BYTES_PER_ELEMENT));
  readonly #reporter: Reporter;
  readonly #max: number;
  readonly #flows = new Map<number, Flow>();
  readonly #seen = new Set<string>();
  /** Taken from the addon, and not told yet. */
  readonly #untold: FlowRecord[] = [];
  #countedOnly = 0;
  #next = 1;
  #reported: bigint;
  #idle: NodeJS.Timeout | undefined;

  /** `served`: one word of the journal. `max` 0: no flow is ever made. */
  constructor(served: BigUint64Array, reporter: Reporter, max: number) {
    this.#served = served;
    this.#max = max;
    this.#reporter = reporter;
    this.#reported = this.#count;
    this.#trail = native.openFlowTrail(
      { served, tellFrom: this.#tellFrom, room: maxRecords, delayMs: tellDelayMs },
      () => this.report(),
    );
    reporter.catchUp = () => this.report();
  }

  get trail(): unknown {
    return this.#trail;
  }

  /** Decisions that flows made, those of the brokers before this one too. */
  get served(): number {
    return Number(this.#count);
  }

  get size(): number {
    return this.#flows.size;
  }

  get(number: number): Flow | undefined {
    return this.#flows.get(number);
  }

  /** Whether this came before; what is asked for once only is not worth a flow. */
  comesAgain(key: string): boolean {
    if (this.#max === 0) return false;
    if (this.#seen.delete(key)) return true;
    this.#seen.add(key);
    for (const oldest of this.#seen) {
      if (this.#seen.size <= maxSeen) break;
      this.#seen.delete(oldest);
    }
    return false;
  }

  /** `install` puts it into its door. @throws NativeError: then there is none. */
  add(flow: Flow, target: FlowTarget, install: (flow: number, target: FlowTarget) => void): void {
    const number = this.#next++;
    install(number, target);
    this.#flows.set(number, flow);
    if (this.#flows.size > this.#max) this.report();
    for (const [oldest, { door }] of this.#flows) {
      if (this.#flows.size <= this.#max) break;
      this.#forget(oldest, door);
    }
    this.#idle ??= setInterval(() => this.#clearIdle(this.served), idleMs).unref();
  }

  /** To be called before anything that changes a verdict is answered. */
  clear(): void {
    this.#seen.clear();
    if (this.#flows.size === 0) return;
    this.report();
    for (const [number, { door }] of this.#flows) this.#forget(number, door);
    clearInterval(this.#idle);
    this.#idle = undefined;
  }

  /** The door is closed. */
  leave(door: Door): void {
    this.report();
    for (const [number, flow] of this.#flows) if (flow.door === door) this.#forget(number, door);
  }

  /** Tells what flows decided since this was last asked. */
  report(): void {
    const records = native.takeFlowRecords({ trail: this.#trail });
    const served = this.#count;
    const decided = Number(served - this.#reported);
    if (decided === 0 && this.#untold.length === 0) return;
    this.#reported = served;
    this.#untold.push(...records);
    this.#countedOnly += decided - records.length;
    // Telling one may find that the launcher has gone, and end the broker: that asks again from within, and must find what is left.
    for (let record = this.#untold.shift(); record !== undefined; record = this.#untold.shift()) this.#tell(record);
    const countedOnly = this.#countedOnly;
    this.#countedOnly = 0;
    this.#reporter.countedOnly(countedOnly);
    const roomInMs = this.#reporter.roomForGrantInMs;
    this.#tellFrom[0] = roomInMs === 0 ? 0n : process.hrtime.bigint() + BigInt(Math.ceil(roomInMs * 1e6));
  }

  get #count(): bigint {
    return this.#served[0] ?? 0n;
  }

  #tell({ flow, tid, thread, errno, microseconds }: FlowRecord): void {
    const made = this.#flows.get(flow);
    if (made === undefined) throw new Error(`a decision of flow ${flow}, which there is not`);
    const { asker = { door: 'vmm', tid, thread }, stage, wish, rule } = made;
    const target = targetText(wish);
    this.#reporter.grantedByFlow({ asker, stage, request: wish.request, target, errno, rule }, microseconds);
  }

  #forget(number: number, door: Door): void {
    native.forgetFlow({ door, flow: number });
    this.#flows.delete(number);
  }

  #clearIdle(served: number): void {
    if (served === this.#servedThen) this.clear();
    this.#servedThen = served;
  }

  #servedThen = -1;
}

/** What connect(2) is given: the address, or the inode that is at the path now. @throws NativeError. */
export function targetOf(address: Address, sockaddr: Uint8Array): FlowTarget {
  if (address.kind !== 'unix') return { address: sockaddr, pinFd: -1, path: '' };
  const pin = pinSocket(address.path);
  return { address: pinnedSockaddr(pin), pinFd: pin.release(), path: address.path };
}
