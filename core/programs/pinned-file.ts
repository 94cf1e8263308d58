// SPDX-License-Identifier: Apache-2.0
// The file of a named program: looked at when the VM is launched, and the same file or none when it is started.
import { constants, fstatSync, lstatSync, realpathSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { type NativeError, native } from '../../native/index.ts';
import { RatchetError } from '../errors.ts';
import { OwnedFd } from '../owned-fd.ts';

export interface PinnedFile {
  /** Without links. */
  readonly path: string;
  /** What changes when it is replaced, written to, or gets other rights. */
  readonly identity: string;
}

const openPathOnly = 0o10000000;
const atCurrentDirectory = -100;
const resolveNoLinks = 0x02 | 0x04;
const typeMask = 0o170000n;
const regularFile = 0o100000n;
const writableByOthers = 0o022n;
const executable = 0o111n;
const sticky = 0o1000n;

/** @throws RatchetError PROFILE_INVALID for a file that others could change or replace, VMM_NOT_FOUND when it is missing. */
export function pinFile(path: string): PinnedFile {
  const real = realPath(path);
  using file = open(real);
  const { mode, uid } = fstatSync(file.fd, { bigint: true });
  const runs = (mode & typeMask) === regularFile && (mode & executable) !== 0n;
  refuse(`the program ${real}`, runs ? changedByOthers({ mode, uid }) : 'is no executable file');
  // Who can change one of these chooses which program the name means.
  for (const folder of new Set([...foldersOf(path), ...foldersOf(real)])) {
    const found = lstatSync(folder, { bigint: true });
    // In a sticky one nobody can move what is another's (/tmp); a link is its owner's alone.
    const kept = (found.mode & sticky) !== 0n || found.isSymbolicLink();
    refuse(`${folder}, on the way to the program ${path},`, changedByOthers(kept ? { ...found, mode: 0n } : found));
  }
  return { path: real, identity: identityOf(file) };
}

function refuse(what: string, problem: string | undefined): void {
  if (problem === undefined) return;
  throw new RatchetError('PROFILE_INVALID', `${what} ${problem}`, {
    next: 'name a program that only root or this user can change',
  });
}

function changedByOthers({ mode, uid }: { readonly mode: bigint; readonly uid: bigint }): string | undefined {
  if ((mode & writableByOthers) !== 0n) return 'can be written to by its group or by everybody';
  return uid !== 0n && uid !== BigInt(process.geteuid?.() ?? 0) ? `belongs to another user (${uid})` : undefined;
}

/** All folders above it, as they are named. */
function foldersOf(path: string): readonly string[] {
  const folder = dirname(resolve(path));
  return folder === '/' ? ['/'] : [folder, ...foldersOf(folder)];
}

/** The file itself, for as long as it is that one. @throws RatchetError REQUEST_FAILED with ENOENT, ELOOP or ESTALE. */
export function openPinned({ path, identity }: PinnedFile): OwnedFd {
  let file: OwnedFd;
  try {
    file = open(path);
  } catch (cause) {
    throw new RatchetError('REQUEST_FAILED', `${path} cannot be opened any more`, {
      errno: (cause as NativeError).code,
      next: 'put it back and start a new VM',
      cause,
    });
  }
  if (identityOf(file) === identity) return file;
  file.close();
  throw new RatchetError('REQUEST_FAILED', `${path} was replaced or changed since the VM was launched`, {
    errno: 'ESTALE',
    next: 'start a new VM to use what is there now',
  });
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch (cause) {
    throw new RatchetError('VMM_NOT_FOUND', `the program ${path} is missing`, {
      errno: (cause as NodeJS.ErrnoException).code ?? 'ENOENT',
      next: 'install it, or take it out of the profile',
      cause,
    });
  }
}

function open(path: string): OwnedFd {
  return new OwnedFd(
    native.openFile({
      directoryFd: atCurrentDirectory,
      path,
      flags: openPathOnly | constants.O_NOFOLLOW,
      mode: 0,
      resolve: resolveNoLinks,
    }),
  );
}

function identityOf(file: OwnedFd): string {
  const { dev, ino, mode, uid, gid, size, mtimeNs, ctimeNs } = fstatSync(file.fd, { bigint: true });
  return [dev, ino, mode, uid, gid, size, mtimeNs, ctimeNs].join();
}
