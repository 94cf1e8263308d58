// SPDX-License-Identifier: Apache-2.0
import { constants } from 'node:fs';
import { native } from '../native/index.ts';

export function isNonBlocking(fd: number): boolean {
  return (native.getStatusFlags({ fd }) & constants.O_NONBLOCK) !== 0;
}

/** Changes O_NONBLOCK alone: the other status flags are the owner's, and he may be changing them. */
export function setNonBlocking(fd: number, on: boolean): void {
  const flags = native.getStatusFlags({ fd });
  const wanted = on ? flags | constants.O_NONBLOCK : flags & ~constants.O_NONBLOCK;
  if (wanted !== flags) native.setStatusFlags({ fd, flags: wanted });
}
