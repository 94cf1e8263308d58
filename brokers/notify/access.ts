// SPDX-License-Identifier: Apache-2.0
// access, faccessat and faccessat2: whether the VMM could have the file opened. Nothing is given out, so no grant is used up.
import { constants } from 'node:fs';
import type { Authority } from '../authority.ts';
import { atCurrentDirectory, errno, openPathOnly } from '../linux.ts';
import { attempt } from '../native-errno.ts';
import { type OpenWish, openWish } from '../open-granted.ts';
import { int32 } from './arguments.ts';
import { CallFails } from './caller.ts';
import { type Call, describeAsker, judgeOnly, reportGrantedCall } from './judged-call.ts';
import { readPath } from './path-argument.ts';

/** faccessat2(2): AT_EACCESS and AT_SYMLINK_NOFOLLOW change nothing here. */
const knownFlags = 0x200 | 0x100;

export function accessCall(call: Call): void {
  const [path, mode] = call.caller.notification.args;
  serve(call, atCurrentDirectory, path, int32(mode));
}

export function faccessatCall(call: Call): void {
  const [directoryFd, path, mode] = call.caller.notification.args;
  serve(call, int32(directoryFd), path, int32(mode));
}

export function faccessat2Call(call: Call): void {
  const [directoryFd, path, mode, flags] = call.caller.notification.args;
  if ((int32(flags) & ~knownFlags) !== 0) throw new CallFails(errno.EINVAL);
  serve(call, int32(directoryFd), path, int32(mode));
}

function serve(call: Call, directoryFd: number, pathAddress: bigint, mode: number): void {
  const all = constants.R_OK | constants.W_OK | constants.X_OK;
  if ((mode & ~all) !== 0) throw new CallFails(errno.EINVAL);
  const path = readPath(call, directoryFd, pathAddress);
  if (path === undefined) return;
  const wish = { request: 'open', path, access: (mode & constants.W_OK) === 0 ? 'ro' : 'rw' } as const;
  const rule = judgeOnly(call, wish);
  if (rule === undefined) return;
  const asker = describeAsker(call);
  // No program is ever started from a granted path.
  const result = (mode & constants.X_OK) !== 0 ? errno.EACCES : check(call.broker.authority, wish, mode);
  if (result === 0) call.caller.answerValue(0n);
  else call.caller.answerErrno(result);
  reportGrantedCall(call, wish, rule, { asker, errno: result, request: 'access' });
}

/** Opens it as it would be opened, and lets it go again: what the broker may not open, the VMM will not get. */
function check(authority: Authority, wish: OpenWish, mode: number): number {
  return attempt(() => openWish(authority, wish, { flags: flagsFor(mode), mode: 0 }).file.close());
}

function flagsFor(mode: number): number {
  if ((mode & constants.W_OK) === 0) return (mode & constants.R_OK) === 0 ? openPathOnly : constants.O_RDONLY;
  return (mode & constants.R_OK) === 0 ? constants.O_WRONLY : constants.O_RDWR;
}
