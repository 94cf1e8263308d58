// SPDX-License-Identifier: Apache-2.0

import { native } from '../../native/index.ts';
import { deferred, withDeadline } from '../deferred.ts';
import { RatchetError } from '../errors.ts';

/** Sends a question on a stream socket and resolves with the first `answerBytes` of what comes back. The socket stays the caller's. */
export async function ask(options: {
  readonly fd: number;
  readonly question: Uint8Array;
  readonly answerBytes: number;
  readonly timeoutMs: number;
}): Promise<Buffer> {
  const { fd, question, answerBytes, timeoutMs } = options;
  const answer = deferred<Buffer>();
  let received = Buffer.alloc(0);
  const flags = native.getStatusFlags({ fd });
  const watch = native.watchFd({ fd, readable: true, writable: false }, () => {
    try {
      const part = native.receiveMessage({ fd, maxBytes: answerBytes - received.length, maxFds: 0 });
      if (part.kind === 'again') return;
      if (part.kind === 'end') return answer.reject(closed());
      received = Buffer.concat([received, part.data]);
      if (received.length >= answerBytes) answer.resolve(received);
    } catch (error) {
      answer.reject(closed(error));
    }
  });
  try {
    try {
      native.sendMessage({ fd, data: question, fds: [] });
    } catch (error) {
      throw closed(error);
    }
    return await withDeadline(
      answer.promise,
      timeoutMs,
      () => new RatchetError('QMP_TIMEOUT', `it did not answer on its link within ${timeoutMs} ms`),
    );
  } finally {
    watch.close();
    // The watch made it non-blocking, for whoever has it next as well.
    native.setStatusFlags({ fd, flags });
  }
}

function closed(cause?: unknown): RatchetError {
  return new RatchetError('VMM_EXITED', 'it closed its link while it was asked whether it is ready', { cause });
}
