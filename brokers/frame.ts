// SPDX-License-Identifier: Apache-2.0
// A request as it came, for the flow that may be made of it.
import { isDeepStrictEqual } from 'node:util';
import { decodeRequest, encodeServerMessage, type Request } from '../core/broker/protocol.ts';
import { OwnedFd } from '../core/owned-fd.ts';
import { type Address, addressToSockaddr, formatAddress, socketFamily } from '../core/policy/address/index.ts';
import type { BrokerRule } from '../core/policy/types.ts';
import { type Begun, type Door, native } from '../native/index.ts';
import type { Broker } from './broker.ts';
import { targetOf } from './flows.ts';
import { attempt } from './native-errno.ts';

export interface MadeConnection {
  readonly request: Request;
  readonly address: Address;
  readonly family: number;
  readonly type: number;
  readonly rule: BrokerRule;
}

/** Any number that no request has at hand: it takes the place of one, to see whether the place is right. */
const otherId = 0x5a5a_a5a5_5aa5_a55an;

/** Each costs a decoding, and a client may write what looks like its number as often as it likes. */
const maxPlaces = 8;

export class Frame {
  readonly #bytes: Uint8Array;
  readonly #door: Door;
  readonly #isKnown: boolean;
  #begun: Begun | undefined;

  constructor(bytes: Uint8Array, door: Door, begun: Begun | undefined) {
    this.#bytes = bytes;
    this.#door = door;
    this.#begun = begun;
    this.#isKnown = begun !== undefined;
  }

  /** The connection that a flow has begun for this request, once. */
  takeBegun(): { readonly socket: OwnedFd; readonly errno: number } | undefined {
    const begun = this.#begun;
    this.#begun = undefined;
    return begun === undefined ? undefined : { socket: new OwnedFd(begun.fd), errno: begun.errno };
  }

  /** From now on this request is answered by a flow, whatever its number; when it came before. */
  remember({ flows, stages, asker }: Broker, { request, address, family, type, rule }: MadeConnection): void {
    if (this.#isKnown) return;
    // As a hint alone: the flow's key is the whole frame.
    if (!flows.comesAgain(this.#door, `${this.#bytes.length} ${type} ${formatAddress(address)}`)) return;
    const idAt = placeOfId(this.#bytes, request);
    if (idAt === undefined) return;
    const reply = okFrame(otherId);
    const sockaddr = addressToSockaddr(address, { mapped: family === socketFamily.inet6 });
    const wish = { request: 'connect', address } as const;
    const flow = { door: this.#door, address, family, wish, rule, stage: stages.current.stage.name, asker };
    // What cannot be pinned any more will be judged when it is asked for.
    attempt(() =>
      flows.add(
        flow,
        () => targetOf(address, sockaddr),
        (number, target) =>
          native.addRequestFlow({
            door: this.#door,
            flow: number,
            domain: family,
            type,
            request: this.#bytes,
            idAt,
            reply,
            replyIdAt: Buffer.from(reply).indexOf(idBytes(otherId)),
            ...target,
          }),
      ),
    );
  }

  [Symbol.dispose](): void {
    this.takeBegun()?.socket.close();
  }
}

/** The answer to a connection, as Channel.send writes it. */
function okFrame(id: bigint): Uint8Array {
  return encodeServerMessage({ class: 'ok', value: {}, type: 'result', id });
}

/** Where the 8 bytes of the number are: the place where another number makes the same request with that number. Undefined when it is written in fewer, or is not among the first that look like it. */
export function placeOfId(bytes: Uint8Array, request: Request): number | undefined {
  const frame = Buffer.from(bytes);
  const written = idBytes(request.id);
  let at = frame.indexOf(written);
  for (let tried = 0; at >= 0 && tried < maxPlaces; tried += 1, at = frame.indexOf(written, at + 1)) {
    const other = Buffer.from(frame);
    other.set(idBytes(otherId), at);
    try {
      if (isDeepStrictEqual(decodeRequest(other), { ...request, id: otherId })) return at;
    } catch {
      // Not the number, but a part of something else.
    }
  }
  return undefined;
}

function idBytes(id: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(id);
  return bytes;
}
