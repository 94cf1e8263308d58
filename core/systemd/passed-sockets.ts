// SPDX-License-Identifier: Apache-2.0
// Sockets that a service manager bound and listens on for us, or kept for us over a restart (sd_listen_fds(3)).
import { native } from '../../native/index.ts';
import { refuseFds } from '../broker/refuse-fds.ts';
import { listeningTypes } from '../control/bind-listening.ts';
import { RatchetError } from '../errors.ts';
import { OwnedFd } from '../owned-fd.ts';
import { socketFamily } from '../policy/address/index.ts';

/** A stream socket serves `ratchet ctl`, a seqpacket socket agents: the kernel tells them apart, so names need not be agreed on. */
export interface PassedSockets {
  readonly control?: OwnedFd;
  readonly agents?: OwnedFd;
}

const firstFd = 3;
/** SOL_SOCKET: SO_DOMAIN, SO_TYPE, SO_ACCEPTCONN. */
const options = { domain: { level: 1, name: 39 }, type: { level: 1, name: 3 }, listens: { level: 1, name: 30 } };

/**
 * Takes what was passed to this process, and the variables that say so, which its children must not believe.
 * @throws RatchetError ARGUMENT_INVALID for anything else than at most one listening unix socket of each kind.
 */
export function takePassedSockets(environment: NodeJS.ProcessEnv = process.env): PassedSockets {
  const { LISTEN_PID: pid, LISTEN_FDS: count = '0' } = environment;
  for (const name of ['LISTEN_PID', 'LISTEN_PIDFDID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete environment[name];
  if (Number(pid) !== process.pid) return {};
  const passed: { control?: OwnedFd; agents?: OwnedFd } = {};
  for (let fd = firstFd; fd < firstFd + Number(count); fd++) {
    const kind = kindOf(fd);
    if (kind === undefined) throw unfit(fd, 'is no listening unix stream or seqpacket socket');
    if (passed[kind] !== undefined) throw unfit(fd, `is a second socket for ${kind}`);
    const socket = new OwnedFd(fd);
    refuseFds(socket);
    passed[kind] = socket;
  }
  return passed;
}

function kindOf(fd: number): keyof PassedSockets | undefined {
  const read = (option: { readonly level: number; readonly name: number }) => native.getSocketOption({ fd, ...option });
  try {
    if (read(options.domain) !== socketFamily.unix || read(options.listens) !== 1) return undefined;
    const type = read(options.type);
    if (type === listeningTypes.stream) return 'control';
    return type === listeningTypes.seqpacket ? 'agents' : undefined;
  } catch {
    return undefined;
  }
}

function unfit(fd: number, what: string): RatchetError {
  return new RatchetError('ARGUMENT_INVALID', `descriptor ${fd}, passed by the service manager, ${what}`, {
    next: 'write one ListenStream= (for ratchet ctl) and one ListenSequentialPacket= (for agents) into the socket unit',
  });
}
