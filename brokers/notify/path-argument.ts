// SPDX-License-Identifier: Apache-2.0
import { RatchetError } from '../../core/errors.ts';
import { normalisePath } from '../../core/policy/address/index.ts';
import { atCurrentDirectory, errno } from '../linux.ts';
import { CallFails } from './caller.ts';
import { type Call, refuseCall } from './judged-call.ts';

/** PATH_MAX, its NUL included. */
const maxPathBytes = 4096;

/** One copy of a path that the call points to. Undefined when it cannot be judged; the call is answered then. @throws CallFails, CallerGone. */
export function readPath(call: Call, directoryFd: number, pathAddress: bigint): string | undefined {
  const bytes = call.caller.readText(pathAddress, maxPathBytes);
  if (bytes.length === 0) throw new CallFails(errno.ENOENT);
  try {
    return normalisePath(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (error) {
    // Relative paths depend on a directory that the VMM can change, `..` on links; TextDecoder throws a TypeError.
    const fix = error instanceof RatchetError ? (error.next ?? null) : 'a path in UTF-8';
    const path = bytes.toString('utf8');
    refuseCall(call, {
      errno: errno.EACCES,
      rule: undefined,
      fix,
      args: directoryFd === atCurrentDirectory ? { path } : { path, directoryFd },
    });
    return undefined;
  }
}
