// SPDX-License-Identifier: Apache-2.0
import { constants } from 'node:fs';
import type { Request } from '../../core/broker/protocol.ts';
import type { OwnedFd } from '../../core/owned-fd.ts';
import { deviceNodeOf } from '../../core/policy/resource.ts';
import { native } from '../../native/index.ts';
import type { Broker } from '../broker.ts';
import { errno } from '../linux.ts';
import { attempt } from '../native-errno.ts';
import { openGranted } from '../open-granted.ts';
import { readSmallFile } from '../read-file.ts';
import { judgeRequest, reportGranted, sendGranted } from './judged.ts';
import { failed, type Reply } from './reply.ts';

const accessFlags = { ro: constants.O_RDONLY, rw: constants.O_RDWR, wo: constants.O_WRONLY } as const;
const typeMask = 0o170000;
const typeOf = { char: 0o020000, block: 0o060000 } as const;

/** A device by its number: the path that the kernel gives it is opened, and what was opened must have that number. */
export function deviceRequest(broker: Broker, request: Extract<Request, { type: 'device' }>, reply: Reply): void {
  const startedMs = performance.now();
  const { kind, major, minor, access } = request;
  const wish = { request: 'device', kind, major, minor, access } as const;
  const permit = judgeRequest(broker, wish, startedMs, reply);
  if (permit === undefined) return;
  let device: OwnedFd | undefined;
  const failure = attempt(() => {
    const path = deviceNodeOf(readSmallFile(`/sys/dev/${kind}/${major}:${minor}/uevent`));
    if (path !== undefined) device = openGranted(path, { flags: accessFlags[access], mode: 0 });
  });
  const another = device !== undefined && !isDevice(device, request);
  if (another) device?.close();
  const result = another || (failure === 0 && device === undefined) ? errno.ENODEV : failure;
  reportGranted(broker, wish, permit.rule, { errno: result, startedMs });
  if (result === 0 && device !== undefined) sendGranted(broker, permit, reply, {}, device);
  else
    failed(
      reply,
      `no such device could be opened`,
      result,
      another ? 'the name that it should have in /dev is taken by something else' : undefined,
    );
}

function isDevice(opened: OwnedFd, { kind, major, minor }: Extract<Request, { type: 'device' }>): boolean {
  const found = native.fileKind({ fd: opened.fd });
  return (found.mode & typeMask) === typeOf[kind] && found.major === major && found.minor === minor;
}
