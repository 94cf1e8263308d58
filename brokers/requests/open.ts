// SPDX-License-Identifier: Apache-2.0
import { constants } from 'node:fs';
import type { Request } from '../../core/broker/protocol.ts';
import type { OwnedFd } from '../../core/owned-fd.ts';
import { normalisePath } from '../../core/policy/address/index.ts';
import type { Broker } from '../broker.ts';
import type { Wish } from '../judge.ts';
import { errno } from '../linux.ts';
import { attempt } from '../native-errno.ts';
import { openWish } from '../open-granted.ts';
import { judgeRequest, parseOrFail, reportGranted, sendGranted } from './judged.ts';
import { failed, type Reply } from './reply.ts';

const accessFlags = { ro: constants.O_RDONLY, rw: constants.O_RDWR, wo: constants.O_WRONLY } as const;

/** New files belong to the broker's user alone. */
const createMode = 0o600;

/** An open file in the reply. */
export function openRequest(broker: Broker, request: Extract<Request, { type: 'open' }>, reply: Reply): void {
  const startedMs = performance.now();
  const path = parseOrFail(() => normalisePath(request.path), reply);
  if (path === undefined) return;
  const create = request.create ?? false;
  if (create && request.access === 'ro') {
    failed(reply, 'a file is not created to be read only', errno.EINVAL, 'ask for rw or wo');
    return;
  }
  const wish = { request: 'open', path, access: request.access } as const;
  const permit = judgeRequest(broker, wish, startedMs, reply);
  if (permit === undefined) return;
  let file: OwnedFd | undefined;
  let fulfilled: Wish = wish;
  const result = attempt(() => {
    const flags = accessFlags[request.access] | (create ? constants.O_CREAT : 0);
    ({ file, wish: fulfilled } = openWish(broker.authority, wish, { flags, mode: createMode }));
  });
  reportGranted(broker, fulfilled, permit.rule, { errno: result, startedMs });
  if (file === undefined)
    failed(
      reply,
      'open failed',
      result,
      result === errno.ELOOP ? 'grant what the symbolic link leads to, or name that' : undefined,
    );
  else sendGranted(broker, permit, reply, {}, file);
}
