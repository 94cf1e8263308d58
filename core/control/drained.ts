// SPDX-License-Identifier: Apache-2.0
import type { Socket } from 'node:net';

/** Resolves when what was written is on its way, or never will be. */
export function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      socket.off('drain', done).off('close', done);
      resolve();
    };
    socket.on('drain', done).on('close', done);
  });
}
