// SPDX-License-Identifier: Apache-2.0
import { readlinkSync } from 'node:fs';
import { formatAddress, maxSockaddrBytes, sockaddrToAddress } from '../../core/policy/address/index.ts';
import type { CallReader } from '../../core/policy/describe-call.ts';
import type { Caller } from './caller.ts';

/** The kernel reads `int` parameters from the low half of the register. */
export function int32(register: bigint): number {
  return Number(BigInt.asIntN(32, register));
}

/** As much of a text as a report shows; the rest of a longer one does not matter to a reader. */
const shownBytes = 256;

/** For reports only: what the caller's pointers and descriptors lead to at this moment, which is no ground for a verdict. */
export function readerOf(caller: Caller): CallReader {
  const { tid } = caller.notification;
  return {
    text: (address) => orNothing(() => caller.readText(address, shownBytes, 'cut').toString('utf8')),
    file: (fd) => orNothing(() => readlinkSync(`/proc/${tid}/fd/${fd}`)),
    socketAddress: (address, length) =>
      length <= 0 || length > maxSockaddrBytes
        ? undefined
        : orNothing(() => formatAddress(sockaddrToAddress(caller.readMemory(address, length)))),
  };
}

/** A pointer into nowhere, a descriptor that is not open, a caller that has gone: the report shows the number. */
function orNothing(look: () => string): string | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}
