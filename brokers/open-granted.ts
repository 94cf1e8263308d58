// SPDX-License-Identifier: Apache-2.0

import { constants } from 'node:fs';
import { OwnedFd } from '../core/owned-fd.ts';
import { native } from '../native/index.ts';
import { atCurrentDirectory, resolveNoLinks } from './linux.ts';
import { setNonBlocking } from './non-blocking.ts';

/**
 * Opens a judged path without following links. O_NONBLOCK during the open, so that no FIFO or terminal can hold the broker up; the flag is taken
 * away again unless it was asked for.
 */
export function openGranted(path: string, flags: number, mode: number): OwnedFd {
  const opened = new OwnedFd(
    native.openFile({
      directoryFd: atCurrentDirectory,
      path,
      flags: flags | constants.O_NONBLOCK | constants.O_NOCTTY,
      mode: (flags & constants.O_CREAT) === 0 ? 0 : mode,
      resolve: resolveNoLinks,
    }),
  );
  if ((flags & constants.O_NONBLOCK) === 0) setNonBlocking(opened.fd, false);
  return opened;
}
