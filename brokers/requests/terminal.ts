// SPDX-License-Identifier: Apache-2.0
import { constants } from 'node:fs';
import { OwnedFd } from '../../core/owned-fd.ts';
import { native } from '../../native/index.ts';
import type { Broker } from '../broker.ts';
import { errno } from '../linux.ts';
import { attempt, errnoOf } from '../native-errno.ts';
import { openGranted } from '../open-granted.ts';
import { judgeRequest, reportGranted, sendGranted } from './judged.ts';
import { failed, type Reply } from './reply.ts';

/** A pseudo-terminal: its controlling side first, then the other. The name of the other is the kernel's. */
export function terminalRequest(broker: Broker, reply: Reply): void {
  const startedMs = performance.now();
  const wish = { request: 'terminal' } as const;
  const permit = judgeRequest(broker, wish, startedMs, reply);
  if (permit === undefined) return;
  const made: OwnedFd[] = [];
  let name = '';
  const result = attempt(() => {
    const master = openMaster();
    made.push(master);
    const { peer, number } = native.openTerminalPeer({ fd: master.fd });
    made.push(new OwnedFd(peer));
    name = `/dev/pts/${number}`;
  });
  reportGranted(broker, wish, permit.rule, { errno: result, startedMs });
  if (result === 0) {
    sendGranted(broker, permit, reply, { name }, ...made);
    return;
  }
  for (const fd of made) fd.close();
  failed(reply, 'the terminal could not be made', result, 'see that /dev/ptmx is there');
}

/** /dev/ptmx is a device of its own, or (in containers) a link to that of /dev/pts. */
function openMaster(): OwnedFd {
  const how = { flags: constants.O_RDWR, mode: 0 };
  try {
    return openGranted('/dev/ptmx', how);
  } catch (error) {
    if (errnoOf(error) !== errno.ELOOP) throw error;
    return openGranted('/dev/pts/ptmx', how);
  }
}
