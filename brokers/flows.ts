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

/** At one door, of which there are 18 at most. Each may hold a descriptor. */
export const maxFlows = 32;
/** Requests that were seen once, at one door: only what comes again becomes a flow. */
const maxSeen = 256;
/** A flow keeps the inode of a unix socket, and its file system busy: it goes when it was not used from one look to the next. */
const lookEveryMs = 10_000;
/** Decisions that wait to be told. */
const maxRecords = 256;
/** Time for the one who asked to go on, before the trail is written. */
const tellDelayMs = 1;

/** What one door knows. Each has its own: who asks at one is not heard at another. */
interface AtDoor {
  /** The oldest first. */
  readonly numbers: Set<number>;
  readonly seen: Set<string>;
}

export class Flows {
  readonly #trail: unknown;
  readonly #served: BigUint64Array;
  /** On memory of its own, which never moves: the addon reads it. */
  readonly #tellFrom = new BigUint64Array(new ArrayBuffer(BigUint64Array.BYTES_PER_ELEMENT));
  readonly #reporter: Reporter;
  readonly #max: number;
  readonly #flows = new Map<number, Flow>();
  readonly #doors = new Map<Door, AtDoor>();
  /** Taken from the addon, and not told yet. */
  readonly #untold: FlowRecord[] = [];
  #countedOnly = 0;
  #next = 1;
  #reported: bigint;
  #looks: NodeJS.Timeout | undefined;

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

  /** A door is open, and may have flows until it leaves. */
  enter(door: Door): void {
    this.#doors.set(door, { numbers: new Set(), seen: new Set() });
  }

  /** The door is closed. */
  leave(door: Door): void {
    this.report();
    for (const number of this.#doors.get(door)?.numbers ?? []) this.#forget(number);
    this.#doors.delete(door);
  }

  /** Whether this came before; what is asked for once only is not worth a flow. */
  comesAgain(door: Door, key: string): boolean {
    const seen = this.#doors.get(door)?.seen;
    if (seen === undefined || this.#max === 0) return false;
    if (seen.delete(key)) return true;
    seen.add(key);
    for (const oldest of seen) {
      if (seen.size <= maxSeen) break;
      seen.delete(oldest);
    }
    return false;
  }

  /** `install` puts it into its door; false: it was not put there. Nothing is done for a door that is closed. @throws NativeError: then there is none. */
  add(flow: Flow, target: () => FlowTarget, install: (flow: number, target: FlowTarget) => boolean): void {
    const numbers = this.#doors.get(flow.door)?.numbers;
    if (numbers === undefined) return;
    const number = this.#next++;
    if (!install(number, target())) return;
    this.#flows.set(number, flow);
    numbers.add(number);
    if (numbers.size > this.#max) this.report();
    for (const oldest of numbers) {
      if (numbers.size <= this.#max) break;
      this.#forget(oldest);
    }
    this.#looks ??= setInterval(() => this.#forgetUnused(), lookEveryMs).unref();
  }

  /** To be called before anything that changes a verdict is answered. */
  clear(): void {
    for (const { seen } of this.#doors.values()) seen.clear();
    if (this.#flows.size === 0) return;
    this.report();
    for (const number of this.#flows.keys()) this.#forget(number);
    this.#stopLooking();
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

  #forget(number: number): void {
    const door = this.#flows.get(number)?.door;
    if (door === undefined) return;
    native.forgetFlow({ door, flow: number });
    this.#flows.delete(number);
    this.#doors.get(door)?.numbers.delete(number);
  }

  #forgetUnused(): void {
    this.report();
    for (const [door, { numbers }] of this.#doors) {
      const used = new Set(numbers.size === 0 ? [] : native.takeUsedFlows({ door }));
      for (const number of numbers) if (!used.has(number)) this.#forget(number);
    }
    if (this.#flows.size === 0) this.#stopLooking();
  }

  #stopLooking(): void {
    clearInterval(this.#looks);
    this.#looks = undefined;
  }
}

/** What connect(2) is given: the address, or the inode that is at the path now. @throws NativeError. */
export function targetOf(address: Address, sockaddr: Uint8Array): FlowTarget {
  if (address.kind !== 'unix') return { address: sockaddr, pinFd: -1, path: '' };
  const pin = pinSocket(address.path);
  return { address: pinnedSockaddr(pin), pinFd: pin.release(), path: address.path };
}
