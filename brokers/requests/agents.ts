// SPDX-License-Identifier: Apache-2.0
import type { Request } from '../../core/broker/protocol.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import { native } from '../../native/index.ts';
import { errno, socketOption, socketType } from '../linux.ts';
import type { Session } from '../serve.ts';
import { failed, ok, type Reply } from './reply.ts';

/** A further client, on a channel that the launcher made. */
export function agentRequest(
  session: Session,
  { name }: Extract<Request, { type: 'agent' }>,
  reply: Reply,
  fd: OwnedFd | undefined,
): void {
  const channel = take(fd, false, reply);
  if (channel === undefined) return;
  if (session.addAgent(channel, name)) {
    ok(reply);
    return;
  }
  channel.close();
  reply({ class: 'busy', what: 'there are too many agents', next: 'close the channel of one' });
}

/** Further clients, who come by themselves. */
export function agentsRequest(
  session: Session,
  { name, users }: Extract<Request, { type: 'agents' }>,
  reply: Reply,
  fd: OwnedFd | undefined,
): void {
  const listening = take(fd, true, reply);
  if (listening === undefined) return;
  session.acceptAgents(listening, name, users);
  ok(reply);
}

function take(fd: OwnedFd | undefined, listening: boolean, reply: Reply): OwnedFd | undefined {
  if (fd !== undefined && isOurKind(fd.fd, listening)) return new OwnedFd(fd.release());
  failed(reply, `the fd is no ${listening ? 'listening' : 'connected'} unix seqpacket socket`, errno.EINVAL);
  return undefined;
}

function isOurKind(fd: number, listening: boolean): boolean {
  const read = (option: { readonly level: number; readonly name: number }) => native.getSocketOption({ fd, ...option });
  try {
    return (
      read(socketOption.domain) === unix &&
      read(socketOption.type) === socketType.seqpacket &&
      (read(socketOption.acceptsConnections) === 1) === listening
    );
  } catch {
    return false;
  }
}

const unix = 1;
