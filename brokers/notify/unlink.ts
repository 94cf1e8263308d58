// SPDX-License-Identifier: Apache-2.0
// unlink and unlinkat: a VMM removes the socket file that it has bound before it binds it again, or when it is done. Nothing else is ever removed.
import type { Wish } from '../judge.ts';
import { atCurrentDirectory, errno } from '../linux.ts';
import { int32 } from './arguments.ts';
import { type Call, describeAsker, judgeOnly, refuseCall, reportGrantedCall } from './judged-call.ts';
import { readPath } from './path-argument.ts';

export function unlinkCall(call: Call): void {
  serve(call, atCurrentDirectory, call.caller.notification.args[0], 0);
}

export function unlinkatCall(call: Call): void {
  const [directoryFd, path, flags] = call.caller.notification.args;
  serve(call, int32(directoryFd), path, int32(flags));
}

function serve(call: Call, directoryFd: number, pathAddress: bigint, flags: number): void {
  const path = readPath(call, directoryFd, pathAddress);
  if (path === undefined) return;
  const wish: Wish = { request: 'bind', address: { kind: 'unix', path } };
  const rule = judgeOnly(call, wish);
  if (rule === undefined) return;
  const outcome = flags === 0 ? call.broker.bound.remove(path) : 'not ours';
  if (outcome === 'not ours') {
    refuseCall(call, {
      errno: errno.EACCES,
      rule: undefined,
      fix: null,
      args: { path, note: 'only socket files that were bound for this VM are removed' },
    });
    return;
  }
  const asker = describeAsker(call);
  const result = outcome === 'removed' ? 0 : errno.ENOENT;
  if (result === 0) call.caller.answerValue(0n);
  else call.caller.answerErrno(result);
  reportGrantedCall(call, wish, rule, { asker, errno: result, request: 'unlink' });
}
