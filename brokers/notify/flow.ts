// SPDX-License-Identifier: Apache-2.0
// Flows of the transparent door: which calls become one, and what goes on here that one has begun.
import { addressToSockaddr, socketFamily } from '../../core/policy/address/index.ts';
import type { BrokerRule, FilterPolicy } from '../../core/policy/types.ts';
import { native } from '../../native/index.ts';
import type { Broker } from '../broker.ts';
import { targetOf } from '../flows.ts';
import { attempt } from '../native-errno.ts';
import type { Caller } from './caller.ts';
import type { Call } from './judged-call.ts';
import type { SocketCall } from './socket-call.ts';

type Known = Pick<SocketCall, 'socket' | 'family' | 'address'> & Partial<SocketCall>;

/** What the flow knew of the call. Nothing is read again: the VMM's memory and descriptors may be others by now. */
export function goOn(call: Call, begun: NonNullable<ReturnType<Caller['takeBegun']>>): Known {
  const flow = call.broker.flows.get(begun.flow);
  if (flow !== undefined) return { socket: begun.socket, family: flow.family, address: flow.address };
  begun.socket.close();
  throw new Error(`flow ${begun.flow} began a connection, and there is no such flow`);
}

/** From now on this call is answered by a flow, when it came before. */
export function rememberCall(call: Call, { address, family, kind, bytes }: Known, rule: BrokerRule): void {
  const { broker, door, caller } = call;
  const { flows, stages } = broker;
  if (kind === undefined || bytes === undefined || address.kind === 'netlink') return;
  if (!leavesToBroker(broker, caller.notification.nr)) return;
  if (!flows.comesAgain(door, `${kind.family} ${kind.type} ${kind.protocol} ${Buffer.from(bytes).toString('latin1')}`))
    return;
  const sockaddr = addressToSockaddr(address, { mapped: family === socketFamily.inet6 });
  const wish = { request: 'connect', address } as const;
  const flow = { door, address, family, wish, rule, stage: stages.current.stage.name, asker: undefined };
  // What cannot be pinned any more will be judged when it is asked for.
  attempt(() =>
    flows.add(
      flow,
      () => targetOf(address, sockaddr),
      (number, target) =>
        native.addCallFlow({
          door,
          flow: number,
          domain: kind.family,
          type: kind.type,
          protocol: kind.protocol,
          asked: bytes,
          ...target,
        }),
    ),
  );
}

/** Whether the stage leaves the call to the broker whatever its registers are and whichever thread makes it: a flow asks about neither. */
function leavesToBroker({ stages, threads }: Broker, nr: number): boolean {
  const { filter, roles } = stages.current.stage;
  return (
    alwaysBroker(filter, nr) && (threads.haveNoRoles || Object.values(roles).every((role) => alwaysBroker(role, nr)))
  );
}

function alwaysBroker(policy: FilterPolicy, nr: number): boolean {
  const rules = policy.syscalls.find((each) => each.nr === nr);
  if (rules === undefined) return false;
  const always = rules.rules.some(({ when }) => when.kind === 'always');
  return rules.rules.every(({ action }) => action.kind === 'broker') && (always || rules.otherwise.kind === 'broker');
}
