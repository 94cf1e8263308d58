// SPDX-License-Identifier: Apache-2.0
// The one program. A filter can tell the descriptor but not the path: with AT_EMPTY_PATH an absolute path is executed just the same, whatever the
// descriptor (execveat(2)). What only the stager can be is the first: its execveat follows the hand-over of the listener, before any code of the VMM.

import { errno } from '../linux.ts';
import { type Call, refuseCall } from './judged-call.ts';

/** Lets the first call that the profile leaves to the broker go on, and no other. Nothing behind its pointers counts. */
export function execveatCall(call: Call): void {
  if (call.broker.programs.take()) call.caller.answerContinue();
  else
    refuseCall(call, {
      errno: errno.EACCES,
      rule: undefined,
      fix: null,
      args: { note: 'one program was started, and no other may be' },
    });
}

/** How many programs may be started still. */
export class OneProgram {
  #left = 1;
  /** Before the answer leaves. */
  onTake: () => void = () => undefined;

  take(): boolean {
    this.#left -= 1;
    this.onTake();
    return this.#left >= 0;
  }
}
