// SPDX-License-Identifier: Apache-2.0
import { bindListening } from '../control/bind-listening.ts';
import type { OwnedFd } from '../owned-fd.ts';

/** The socket by which agents come to the broker, listening. The broker asks the kernel who they are. @throws RatchetError CONTROL_FAILED. */
export function bindAgentDoor(path: string): OwnedFd {
  return bindListening({ path, type: 'seqpacket', what: 'socket for agents', option: '--agents' });
}
