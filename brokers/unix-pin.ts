// SPDX-License-Identifier: Apache-2.0
// Unix socket paths, without a gap between what was judged and what is used.

import { constants } from 'node:fs';
import { basename, dirname } from 'node:path';
import { OwnedFd } from '../core/owned-fd.ts';
import { addressToSockaddr } from '../core/policy/address/index.ts';
import { native } from '../native/index.ts';
import type { BoundFiles } from './bound-files.ts';
import { atCurrentDirectory, errno, openPathOnly, resolveNoLinks } from './linux.ts';
import { attempt } from './native-errno.ts';

/** The socket's inode, found without following any link. Connecting to `pinnedSockaddr` of it reaches this inode, whatever the name says by then. */
export function pinSocket(path: string): OwnedFd {
  const flags = openPathOnly | constants.O_NOFOLLOW;
  return new OwnedFd(
    native.openFile({ directoryFd: atCurrentDirectory, path, flags, mode: 0, resolve: resolveNoLinks }),
  );
}

export function pinnedSockaddr(pin: OwnedFd): Uint8Array {
  return addressToSockaddr({ kind: 'unix', path: `/proc/self/fd/${pin.fd}` });
}

/**
 * bind(2) on a path: 0 or an errno. bind cannot be told not to follow links, and the name it is given is what getsockname shows, so the path is used as
 * it is: its directory is pinned before, and after the bind the new socket must be found in that very directory, or it is not handed on (EACCES).
 */
export function bindUnixPath(fd: number, path: string, bound: BoundFiles): number {
  let directoryFd = -1;
  const pinned = attempt(() => {
    const flags = openPathOnly | constants.O_DIRECTORY;
    directoryFd = native.openFile({
      directoryFd: atCurrentDirectory,
      path: dirname(path),
      flags,
      mode: 0,
      resolve: resolveNoLinks,
    });
  });
  if (pinned !== 0) return pinned;
  using directory = new OwnedFd(directoryFd);
  const failed = attempt(() => native.bindSocket({ fd, address: addressToSockaddr({ kind: 'unix', path }) }));
  if (failed !== 0) return failed;
  const flags = openPathOnly | constants.O_NOFOLLOW;
  const misplaced = attempt(() =>
    native.closeFd({
      fd: native.openFile({ directoryFd: directory.fd, path: basename(path), flags, mode: 0, resolve: resolveNoLinks }),
    }),
  );
  if (misplaced !== 0) return errno.EACCES;
  bound.made(path);
  return 0;
}
