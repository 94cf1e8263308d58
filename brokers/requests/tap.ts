// SPDX-License-Identifier: Apache-2.0
import { readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import type { Request } from '../../core/broker/protocol.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import { native } from '../../native/index.ts';
import type { Broker } from '../broker.ts';
import type { Wish } from '../judge.ts';
import { errno } from '../linux.ts';
import { attempt, errnoOf } from '../native-errno.ts';
import { judgeRequest, reportGranted, sendGranted } from './judged.ts';
import { failed, type Reply } from './reply.ts';

/** linux/if_tun.h: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, which is what QEMU asks for itself. */
const tapFlags = 0x0002 | 0x1000 | 0x4000;

/** IFF_MULTI_QUEUE */
const multiQueueFlag = 0x0100;

/** A name of the kernel's charset; `%d` at the end takes a free number. */
const nameForm = /^[A-Za-z0-9_][A-Za-z0-9_.-]*(?:%d)?$/;

/** A tap device, made or attached, and up. It vanishes with its last fd unless somebody made it persistent before. */
export function tapRequest(broker: Broker, request: Extract<Request, { type: 'tap' }>, reply: Reply): void {
  const startedMs = performance.now();
  if (!nameForm.test(request.name)) {
    failed(
      reply,
      `"${request.name}" is no interface name`,
      errno.EINVAL,
      'use letters, digits, _ . - and perhaps %d at the end',
    );
    return;
  }
  const { bridge } = request;
  const wish: Wish = { request: 'tap', name: request.name, ...(bridge === undefined ? {} : { bridge }) };
  const permit = judgeRequest(broker, wish, startedMs, reply);
  if (permit === undefined) return;
  let made: { readonly fd: OwnedFd; readonly name: string } | undefined;
  const result = attempt(() => {
    const { fd, name } = native.createTap({
      name: request.name,
      flags: request.multiQueue === true ? tapFlags | multiQueueFlag : tapFlags,
    });
    made = { fd: new OwnedFd(fd), name };
    const { mtu, owner } = request;
    if (owner !== undefined) native.setTapOwner({ fd, uid: owner });
    if (mtu !== undefined) native.setInterfaceMtu({ name, mtu });
    if (bridge !== undefined) joinBridge(name, bridge);
    native.setInterfaceUp({ name, up: true });
  });
  reportGranted(broker, wish, permit.rule, { errno: result, startedMs });
  if (made !== undefined && result === 0) {
    sendGranted(broker, permit, reply, { name: made.name }, made.fd);
    return;
  }
  made?.fd.close();
  failed(
    reply,
    'the tap device could not be made',
    result,
    'see that /dev/net/tun is there and the broker has CAP_NET_ADMIN',
  );
}

/** A further queue, or a device that somebody made before, may be a port of that bridge already; of another one it must not be. */
function joinBridge(name: string, bridge: string): void {
  try {
    native.addToBridge({ name, bridge });
  } catch (error) {
    if (errnoOf(error) !== errno.EBUSY || basename(readlinkSync(`/sys/class/net/${name}/master`)) !== bridge)
      throw error;
  }
}
