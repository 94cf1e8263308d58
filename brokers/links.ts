// SPDX-License-Identifier: Apache-2.0
// Symbolic links. A name that is granted may be a link (/dev/disk/by-id/..., /var/run/...), if where it leads is granted too: the end is judged like any other name,
// and then opened without following anything. A link that is changed in between leads nowhere.
import { realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Address } from '../core/policy/address/index.ts';
import type { Authority, Permit } from './authority.ts';
import type { Wish } from './judge.ts';

type ConnectWish = Extract<Wish, { request: 'connect' }>;

/** A permit to connect that also depends on where the path leads, once that was looked at: what is taken away of either ends it, and a link may be changed. */
export function alongLinks(
  authority: Authority,
  wish: ConnectWish,
  permit: Permit,
): Permit & { readonly follow: () => string | undefined } {
  let atEnd: Permit | undefined;
  let looked = false;
  return {
    ...permit,
    lasts: () => permit.lasts() && !looked,
    holds: () => permit.holds() && (atEnd?.holds() ?? true),
    follow: () => {
      looked = true;
      const followed = followLinks(authority, wish);
      atEnd = followed?.permit;
      return unixPath(followed?.wish.address);
    },
  };
}

/** The wish with the path that it ends at, when that is another and may be had. */
export function followLinks<W extends Wish & { readonly request: 'open' | 'connect' }>(
  authority: Authority,
  wish: W,
): { readonly wish: W; readonly permit: Permit } | undefined {
  const path = pathOf(wish);
  const end = path === undefined ? undefined : endOf(path);
  if (end === undefined || end === path) return undefined;
  const followed = (
    wish.request === 'open' ? { ...wish, path: end } : { ...wish, address: { kind: 'unix', path: end } }
  ) as W;
  const permit = authority.permit(followed);
  return permit.granted ? { wish: followed, permit } : undefined;
}

function unixPath(address: Address | undefined): string | undefined {
  return address?.kind === 'unix' ? address.path : undefined;
}

function pathOf(wish: Wish): string | undefined {
  if (wish.request === 'open') return wish.path;
  return wish.request === 'connect' ? unixPath(wish.address) : undefined;
}

/** A last component that does not exist yet may be created in a directory behind a link. */
function endOf(path: string): string | undefined {
  try {
    return realpathSync.native(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') return undefined;
  }
  try {
    return join(realpathSync.native(dirname(path)), basename(path));
  } catch {
    return undefined;
  }
}
