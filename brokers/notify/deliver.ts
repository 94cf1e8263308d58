// SPDX-License-Identifier: Apache-2.0
import type { OwnedFd } from '../../core/owned-fd.ts';
import { errno } from '../linux.ts';
import { errnoOf } from '../native-errno.ts';
import { isNonBlocking } from '../non-blocking.ts';
import type { Asker } from '../reporter.ts';
import { type Call, describeAsker } from './judged-call.ts';

export interface Delivery {
  /** Closed in the end, whatever comes. */
  readonly socket: OwnedFd;
  readonly flags: number;
  /** Sends without waiting: the bytes sent, or a throw. */
  readonly attempt: () => number;
  readonly permitted: () => boolean;
  readonly done: (errno: number, asker: Asker) => void;
}

const dontWaitFlag = 0x40;
const retryMs = 5;

/** Sends, and answers with the number of bytes. Where the caller would have waited for room in a full queue it does so here, and delays nobody else. */
export function deliver(call: Call, delivery: Delivery): void {
  const { broker, caller } = call;
  const { socket, flags, attempt, permitted, done } = delivery;
  const asker = describeAsker(call);
  let timer: NodeJS.Timeout | undefined;
  let forget: () => void = () => undefined;
  let over = false;
  const release = (): void => {
    over = true;
    clearTimeout(timer);
    forget();
    socket.close();
  };
  const finish = (result: number, sent = 0): void => {
    if (over) return;
    release();
    if (result === 0) caller.answerValue(BigInt(sent));
    else caller.answerErrno(result);
    done(result, asker);
  };
  const again = (): void => {
    if (!permitted()) {
      finish(errno.EACCES);
      return;
    }
    try {
      finish(0, attempt());
    } catch (error) {
      const failed = errnoOf(error);
      const waits = failed === errno.EAGAIN && (flags & dontWaitFlag) === 0 && !isNonBlocking(socket.fd);
      if (waits && !broker.pending.full) timer = setTimeout(again, retryMs);
      else finish(failed);
    }
  };
  again();
  if (over) return;
  caller.defer();
  forget = broker.pending.add({
    wanted: () => caller.waiting,
    recheck: () => {
      if (!permitted()) finish(errno.EACCES);
    },
    abandon: release,
  });
}
