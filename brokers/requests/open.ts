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
  const { create = false, exclusive, mode, truncate, append } = request;
  if (request.access === 'ro' && (create || truncate === true || append === true)) {
    failed(reply, 'a file is not created, truncated or appended to for reading only', errno.EINVAL, 'ask for rw or wo');
    return;
  }
  if (!create && (exclusive !== undefined || mode !== undefined)) {
    failed(reply, '"exclusive" and "mode" are about a file that is created', errno.EINVAL, 'ask for create too');
    return;
  }
  const wish = { request: 'open', path, access: request.access } as const;
  const permit = judgeRequest(broker, wish, startedMs, reply);
  if (permit === undefined) return;
  let file: OwnedFd | undefined;
  let fulfilled: Wish = wish;
  const result = attempt(() => {
    ({ file, wish: fulfilled } = openWish(broker.authority, wish, {
      flags: flagsOf(request),
      mode: mode ?? createMode,
    }));
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

function flagsOf(request: Extract<Request, { type: 'open' }>): number {
  const flag = (wanted: boolean | undefined, bit: number) => (wanted === true ? bit : 0);
  return (
    accessFlags[request.access] |
    flag(request.create, constants.O_CREAT) |
    flag(request.exclusive, constants.O_EXCL) |
    flag(request.truncate, constants.O_TRUNC) |
    flag(request.append, constants.O_APPEND) |
    flag(request.direct, constants.O_DIRECT)
  );
}
