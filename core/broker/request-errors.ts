// SPDX-License-Identifier: Apache-2.0
// What a request to the broker fails with.
import { constants } from 'node:os';
import { errnoName } from '../errno-name.ts';
import { RatchetError } from '../errors.ts';
import type { Result, Unconfined } from './protocol.ts';

/** The broker has answered, and said no. */
export function errorOf(result: Exclude<Result, { class: 'ok' }>, subject: string): RatchetError {
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

/** BROKER_DIED, before an answer came. */
export function died(subject: string, cause?: unknown): RatchetError {
  return new RatchetError('BROKER_DIED', `${subject}: the broker is gone`, {
    next: 'the VMM goes on without brokered calls; start a new VM to have them again',
    ...(cause === undefined ? {} : { cause }),
  });
}

/** SELF_FAILED, in place of a hello. */
export function selfFailed({ step, syscall, errno }: Unconfined): RatchetError {
  // Each thread is asked by a signal, and all processes of a user together may have so many waiting.
  const noSignals = syscall === 'tgkill' && errno === constants.errno.EAGAIN;
  return new RatchetError('SELF_FAILED', `the broker could not confine itself: step ${step}: ${syscall} failed`, {
    errno: errnoName(errno),
    next: noSignals
      ? "this user's processes have as many signals waiting as they may (SigQ in /proc/self/status): end the one that takes none, or raise the limit (prlimit --sigpending, LimitSIGPENDING)"
      : 'look at the broker log',
  });
}

/** BROKER_TIMEOUT: the broker kept no deadline of its own either. */
export function timedOut(subject: string, timeoutMs: number): RatchetError {
  return new RatchetError('BROKER_TIMEOUT', `${subject}: no answer from the broker within ${timeoutMs} ms`, {
    errno: 'ETIMEDOUT',
    next: 'try again, or look at its log',
  });
}

/** BROKER_PROTOCOL: no broker of ours says this. */
export function unexpected(what: string): RatchetError {
  return new RatchetError('BROKER_PROTOCOL', `the broker sent ${what}`);
}
