// SPDX-License-Identifier: Apache-2.0
import { readlinkSync } from 'node:fs';
import { OwnedFd } from '../../core/owned-fd.ts';
import { errno } from '../linux.ts';
import type { Session } from '../serve.ts';
import { failed, ok, type Reply } from './reply.ts';

/** Takes the VMM's seccomp listener, once, and serves it from then on. */
export function attachListenerRequest(session: Session, fd: OwnedFd | undefined, reply: Reply): void {
  if (fd === undefined || readlinkSync(`/proc/self/fd/${fd.fd}`) !== 'anon_inode:seccomp notify') {
    failed(reply, 'the fd is not a seccomp listener', errno.EINVAL);
    return;
  }
  const listener = new OwnedFd(fd.release());
  if (session.attachListener(listener)) {
    ok(reply);
    return;
  }
  listener.close();
  failed(reply, 'a listener was attached before', errno.EBUSY, 'one broker serves one VMM');
}
