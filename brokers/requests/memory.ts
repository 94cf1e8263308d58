// SPDX-License-Identifier: Apache-2.0
import type { Request } from '../../core/broker/protocol.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import { native } from '../../native/index.ts';
import type { Broker } from '../broker.ts';
import { attempt } from '../native-errno.ts';
import { judgeRequest, reportGranted, sendGranted } from './judged.ts';
import { failed, type Reply } from './reply.ts';

/** fcntl(2): F_SEAL_SEAL and so on. */
const sealBits = { seal: 1, shrink: 2, grow: 4, write: 8 } as const;

/** A memory file of zeros, for guest memory that a backend shares. */
export function memoryRequest(broker: Broker, request: Extract<Request, { type: 'memory' }>, reply: Reply): void {
  const startedMs = performance.now();
  const { bytes, seals = [] } = request;
  const wish = { request: 'memory', bytes } as const;
  const permit = judgeRequest(broker, wish, startedMs, reply);
  if (permit === undefined) return;
  let file: OwnedFd | undefined;
  const result = attempt(() => {
    const bits = seals.reduce((all, seal) => all | sealBits[seal], 0);
    file = new OwnedFd(native.sizedMemfd({ name: 'ratchet-memory', bytes, seals: bits }));
  });
  reportGranted(broker, wish, permit.rule, { errno: result, startedMs });
  if (file === undefined) failed(reply, 'the memory file could not be made', result);
  else sendGranted(broker, permit, reply, {}, file);
}
