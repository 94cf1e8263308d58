// SPDX-License-Identifier: Apache-2.0
import { Packr } from 'msgpackr/index-no-eval';

/**
 * One msgpack value, maps with string keys. A bigint is written as a 64-bit integer, and every 64-bit integer is read as a bigint; shorter ones
 * are numbers. Trailing bytes, truncation and unknown extensions throw; the shape is the schema's business.
 */
export function encodeFrame(value: unknown): Uint8Array {
  return encoder.pack(value);
}

export function decodeFrame(bytes: Uint8Array): unknown {
  return makePackr().unpack(bytes);
}

const encoder = makePackr();

// A decoder for each frame: msgpackr's remembers record definitions, and no frame may change what a later one means.
function makePackr(): Packr {
  return new Packr({ useRecords: false, mapsAsObjects: true, int64AsType: 'bigint' });
}
