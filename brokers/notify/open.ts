// SPDX-License-Identifier: Apache-2.0
// open, openat, openat2 and creat: the broker opens the granted path and the fd arrives in the caller in one step with the answer.
import { constants } from 'node:fs';
import type { OwnedFd } from '../../core/owned-fd.ts';
import type { PathAccess } from '../../core/policy/address/index.ts';
import type { Wish } from '../judge.ts';
import { atCurrentDirectory, errno } from '../linux.ts';
import { attempt, errnoOf } from '../native-errno.ts';
import { openWish } from '../open-granted.ts';
import { int32 } from './arguments.ts';
import { CallFails } from './caller.ts';
import { type Call, describeAsker, judgeCall, refuseCall, reportGrantedCall } from './judged-call.ts';
import { readPath } from './path-argument.ts';

interface OpenArguments {
  readonly directoryFd: number;
  readonly pathAddress: bigint;
  readonly flags: number;
  readonly mode: number;
  readonly resolve?: number;
}

export function openCall(call: Call): void {
  const [path, flags, mode] = call.caller.notification.args;
  serve(call, { directoryFd: atCurrentDirectory, pathAddress: path, flags: int32(flags), mode: int32(mode) });
}

export function openatCall(call: Call): void {
  const [directoryFd, path, flags, mode] = call.caller.notification.args;
  serve(call, { directoryFd: int32(directoryFd), pathAddress: path, flags: int32(flags), mode: int32(mode) });
}

export function creatCall(call: Call): void {
  const [path, mode] = call.caller.notification.args;
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC;
  serve(call, { directoryFd: atCurrentDirectory, pathAddress: path, flags, mode: int32(mode) });
}

/** struct open_how: three u64 (flags, mode, resolve). Later, longer versions are E2BIG unless zero, which we do not look at: ENOSYS makes callers fall back. */
export function openat2Call(call: Call): void {
  const [directoryFd, path, how, size] = call.caller.notification.args;
  if (size !== 24n) throw new CallFails(size < 24n ? errno.EINVAL : errno.E2BIG);
  const words = call.caller.readMemory(how, 24);
  const flags = words.readBigUInt64LE(0);
  if (flags > 0x7fff_ffffn) throw new CallFails(errno.EINVAL);
  const resolve = words.readBigUInt64LE(16);
  if ((resolve & ~resolveBits.all) !== 0n) throw new CallFails(errno.EINVAL);
  // As the kernel answers: an absolute path leads out, and no lookup of ours is certain to find all in its caches.
  if ((resolve & resolveBits.within) !== 0n) throw new CallFails(errno.EXDEV);
  if ((resolve & resolveBits.cached) !== 0n) throw new CallFails(errno.EAGAIN);
  serve(call, {
    directoryFd: int32(directoryFd),
    pathAddress: path,
    flags: Number(flags),
    mode: Number(words.readBigUInt64LE(8) & 0o7777n),
    resolve: Number(resolve),
  });
}

/** RESOLVE_BENEATH and RESOLVE_IN_ROOT, RESOLVE_CACHED, and those with RESOLVE_NO_XDEV, _NO_MAGICLINKS and _NO_SYMLINKS. */
const resolveBits = { within: 0x18n, cached: 0x20n, all: 0x3fn } as const;

/** O_ACCMODE, not in node:fs. */
const accessModeMask = 3;

/** Flags that are passed on. What is missing (O_PATH, O_TMPFILE, FASYNC) is refused. */
const passedFlags =
  accessModeMask |
  constants.O_CREAT |
  constants.O_EXCL |
  constants.O_NOCTTY |
  constants.O_TRUNC |
  constants.O_APPEND |
  constants.O_NONBLOCK |
  constants.O_SYNC |
  constants.O_DSYNC |
  constants.O_DIRECT |
  constants.O_DIRECTORY |
  constants.O_NOFOLLOW |
  constants.O_NOATIME;

const closeOnExecFlag = 0o2000000;
/** Always on for 64-bit programs; some set it nevertheless. The number is another on aarch64. */
const largeFileFlag = process.arch === 'arm64' ? 0o400000 : 0o100000;

function serve(call: Call, { directoryFd, pathAddress, flags, mode, resolve = 0 }: OpenArguments): void {
  const path = readPath(call, directoryFd, pathAddress);
  if (path === undefined) return;
  const flagText = `0${(flags >>> 0).toString(8)}`;
  const passed = flags & ~(closeOnExecFlag | largeFileFlag);
  if ((passed & ~passedFlags) !== 0 || (passed & accessModeMask) === accessModeMask) {
    refuseCall(call, { errno: errno.EINVAL, rule: undefined, fix: null, args: { path, flags: flagText } });
    return;
  }
  const wish = { request: 'open', path, access: accessOf(passed) } as const;
  const permit = judgeCall({ ...call, args: () => ({ flags: flagText }) }, wish);
  if (permit === undefined) return;
  const asker = describeAsker(call);
  let file: OwnedFd | undefined;
  let fulfilled: Wish = wish;
  let result = attempt(() => {
    ({ file, wish: fulfilled } = openWish(call.broker.authority, wish, { flags: passed, mode: mode & 0o777, resolve }));
  });
  if (file !== undefined && !permit.holds()) result = errno.EACCES;
  else if (file !== undefined) {
    try {
      call.caller.answerFd(file, (flags & closeOnExecFlag) !== 0);
    } catch (error) {
      // The VMM's own limit, most likely; the call still waits.
      result = errnoOf(error);
    }
  }
  file?.close();
  if (!call.caller.settled) call.caller.answerErrno(result === 0 ? errno.EACCES : result);
  reportGrantedCall(call, fulfilled, permit.rule, { asker, errno: result });
}

/** Creating and truncating are writing, whatever the access mode says. */
function accessOf(flags: number): PathAccess {
  const mode = flags & accessModeMask;
  if (mode === constants.O_WRONLY) return 'wo';
  if (mode === constants.O_RDWR || (flags & (constants.O_CREAT | constants.O_TRUNC)) !== 0) return 'rw';
  return 'ro';
}
