// SPDX-License-Identifier: Apache-2.0

import { constants } from 'node:fs';
import { OwnedFd } from '../core/owned-fd.ts';
import { native } from '../native/index.ts';
import type { Authority } from './authority.ts';
import type { Wish } from './judge.ts';
import { followLinks } from './links.ts';
import { atCurrentDirectory, errno, openPathOnly, resolveNoLinks, resolveNoSymlinks } from './linux.ts';
import { errnoOf } from './native-errno.ts';
import { setNonBlocking } from './non-blocking.ts';

/** As openat2(2) has it. */
export interface OpenHow {
  readonly flags: number;
  /** For a file that is created. */
  readonly mode: number;
  /** Further RESOLVE_* bits. */
  readonly resolve?: number;
}

/**
 * Opens a judged path without following links. O_NONBLOCK during the open, so that no FIFO or terminal can hold the broker up; the flag is taken
 * away again unless it was asked for.
 */
export function openGranted(path: string, { flags, mode, resolve = 0 }: OpenHow): OwnedFd {
  // O_PATH opens nothing, and openat2(2) takes no such flags with it.
  const pathOnly = (flags & openPathOnly) !== 0;
  const opened = new OwnedFd(
    native.openFile({
      directoryFd: atCurrentDirectory,
      path,
      flags: pathOnly ? flags : flags | constants.O_NONBLOCK | constants.O_NOCTTY,
      mode: (flags & constants.O_CREAT) === 0 ? 0 : mode,
      resolve: resolve | resolveNoLinks,
    }),
  );
  if (!pathOnly && (flags & constants.O_NONBLOCK) === 0) setNonBlocking(opened.fd, false);
  return opened;
}

export type OpenWish = Extract<Wish, { request: 'open' }>;

/** As above; where the path is a link, what it leads to when that is granted too. Returns the wish that was fulfilled. */
export function openWish(
  authority: Authority,
  wish: OpenWish,
  how: OpenHow,
): { readonly file: OwnedFd; readonly wish: OpenWish } {
  try {
    return { file: openGranted(wish.path, how), wish };
  } catch (error) {
    const mayFollow = (how.flags & constants.O_NOFOLLOW) === 0 && ((how.resolve ?? 0) & resolveNoSymlinks) === 0;
    const followed = mayFollow && errnoOf(error) === errno.ELOOP ? followLinks(authority, wish) : undefined;
    if (followed === undefined) throw error;
    return { file: openGranted(followed.wish.path, how), wish: followed.wish };
  }
}
