// SPDX-License-Identifier: Apache-2.0
import type { NativeError } from '../native/index.ts';
import { errno } from './linux.ts';

/** The positive errno of a failed system call; anything else is a bug and is thrown on. */
export function errnoOf(error: unknown): number {
  const number = (error as Partial<NativeError> | undefined)?.errno;
  if (typeof number === 'number' && number > 0 && number <= 4095) return number;
  throw error;
}

/** Runs a system call that answers with nothing but success: 0, or its errno. */
export function attempt(call: () => void): number {
  try {
    call();
    return 0;
  } catch (error) {
    return errnoOf(error);
  }
}

export const outOfDescriptors: ReadonlySet<number> = new Set([errno.EMFILE, errno.ENFILE]);
