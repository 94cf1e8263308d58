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
  return pin(atCurrentDirectory, path, 0);
}

export function pinnedSockaddr(pin: OwnedFd): Uint8Array {
  return addressToSockaddr({ kind: 'unix', path: `/proc/self/fd/${pin.fd}` });
}

/**
 * bind(2) on a path: 0 or an errno. bind cannot be told not to follow links, and the name it is given is what getsockname shows, so the path is used as
 * it is: its directory is pinned before, and after the bind the new socket must be found in that very directory, or it is not handed on (EACCES).
 */
export function bindUnixPath(fd: number, path: string, bound: BoundFiles): number {
  let directory: OwnedFd | undefined;
  const noDirectory = attempt(() => {
    directory = pin(atCurrentDirectory, dirname(path), constants.O_DIRECTORY);
  });
  if (directory === undefined) return noDirectory;
  using pinned = directory;
  const bind = () => attempt(() => native.bindSocket({ fd, address: addressToSockaddr({ kind: 'unix', path }) }));
  const taken = bind();
  const failed = taken === errno.EADDRINUSE && bound.removeStale(path) ? bind() : taken;
  if (failed !== 0) return failed;
  const misplaced = attempt(() => pin(pinned.fd, basename(path), 0).close());
  if (misplaced !== 0) return errno.EACCES;
  bound.made(path);
  return 0;
}

function pin(directoryFd: number, path: string, flags: number): OwnedFd {
  return new OwnedFd(
    native.openFile({ directoryFd, path, flags: openPathOnly | flags, mode: 0, resolve: resolveNoLinks }),
  );
}
