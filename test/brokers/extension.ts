// SPDX-License-Identifier: Apache-2.0
import { encodeRequest } from '../../core/broker/protocol.ts';

/** A plain request to connect whose number is a msgpack extension, of so many bytes: any size of number can be written so. */
export function connectFrameWithExtension(id: bigint, bytes: number, address: string): Buffer {
  const plain = 0x0102_0304_0506_0708n;
  const frame = Buffer.from(encodeRequest({ type: 'connect', id: plain, address, timeoutMs: 1000 }));
  const at = frame.indexOf('d30102030405060708', 'hex');
  const digits = BigInt.asUintN(bytes * 8, id)
    .toString(16)
    .padStart(bytes * 2, '0');
  const extension = Buffer.concat([Buffer.from([0xc7, bytes, 0x42]), Buffer.from(digits, 'hex')]);
  return Buffer.concat([frame.subarray(0, at), extension, frame.subarray(at + 9)]);
}
