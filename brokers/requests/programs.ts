// SPDX-License-Identifier: Apache-2.0
// What the launcher tells of the programs that it was told to start.
import { readlinkSync } from 'node:fs';
import type { Request } from '../../core/broker/protocol.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import type { Broker } from '../broker.ts';
import { errno } from '../linux.ts';
import { failed, ok, type Reply } from './reply.ts';

export function startedRequest(
  broker: Broker,
  { number, pid }: Extract<Request, { type: 'started' }>,
  reply: Reply,
  fd: OwnedFd | undefined,
): void {
  if (fd === undefined || !isPidfd(fd.fd)) {
    failed(reply, 'the fd is no pidfd', errno.EINVAL);
    return;
  }
  if (broker.running.started(number, pid, new OwnedFd(fd.release()))) ok(reply);
  else failed(reply, `no program ${number} is being started`, errno.ENOENT);
}

export function endedRequest(broker: Broker, request: Extract<Request, { type: 'ended' }>, reply: Reply): void {
  const { number, errno: failure, what } = request;
  const ended = broker.running.ended(number, failure === undefined ? undefined : { errno: failure, what });
  if (ended === undefined) {
    failed(reply, `no program ${number} runs`, errno.ENOENT);
    return;
  }
  if (failure === undefined) broker.reporter.programEnded({ ...ended, what });
  ok(reply);
}

/** The kernel calls all of them that, or `pidfd:[N]` where they have a file system of their own (Linux 6.9). */
function isPidfd(fd: number): boolean {
  return /^(anon_inode:\[pidfd\]|pidfd:\[\d+\])$/.test(readlinkSync(`/proc/self/fd/${fd}`));
}
