// SPDX-License-Identifier: Apache-2.0
// The table of flows, with doors of the addon on real sockets. What flows answer is in flows-property and hostile/broker-flows.
import { afterEach, expect, test, vi } from 'vitest';
import { Channel } from '../../brokers/channel.ts';
import { type Flow, Flows } from '../../brokers/flows.ts';
import { Frame } from '../../brokers/frame.ts';
import { Reporter } from '../../brokers/reporter.ts';
import { encodeRequest, encodeServerMessage } from '../../core/broker/protocol.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import { addressToSockaddr, parseAddress } from '../../core/policy/address/index.ts';
import { type Door, type FlowTarget, native } from '../../native/index.ts';
import { readable } from '../native/fds.ts';
import { scratch } from './rig.ts';

const open: { close(): void }[] = [];
const asker = { door: 'agent', tid: 0, thread: 'test' } as const;
const address = parseAddress('unix:/nowhere');
const rule = {
  request: 'connect',
  target: 'unix:/nowhere',
  refuseErrno: undefined,
  why: '',
  source: { file: 'test', line: 1, column: 1 },
} as const;

afterEach(() => {
  vi.useRealTimers();
  for (const each of open.splice(0).reverse()) each.close();
});

function newFlows(max: number): { flows: Flows; served: BigUint64Array } {
  const served = new BigUint64Array(new ArrayBuffer(8));
  return { flows: new Flows(served, new Reporter(() => undefined), max), served };
}

function channelOf(flows: Flows): { channel: Channel; peer: OwnedFd } {
  const [ours, theirs] = native.socketPair({ type: 'seqpacket' });
  const own = new OwnedFd(ours);
  const peer = new OwnedFd(theirs);
  const channel = new Channel(own.fd, flows, { onPacket: () => undefined, onEnd: () => undefined });
  open.push(own, peer, channel);
  return { channel, peer };
}

const flowAt = (door: Door): Flow => ({
  door,
  address,
  family: 1,
  wish: { request: 'connect', address },
  rule,
  stage: 'start',
  asker,
});

const request = (id: bigint, to: string): Buffer =>
  Buffer.from(encodeRequest({ type: 'connect', id, address: to, timeoutMs: 1000 }));

/** Puts a flow for this request into its door; its number when it was put there. */
function add(flows: Flows, door: Door, to: string, sockaddr = addressToSockaddr(address)): number | undefined {
  const id = 0x0102_0304_0506_0708n;
  const idAt = (bytes: Uint8Array): number => Buffer.from(bytes).indexOf('0102030405060708', 'hex');
  const frame = request(id, to);
  const reply = encodeServerMessage({ type: 'result', id, class: 'ok', value: {} });
  let number: number | undefined;
  const target: FlowTarget = { address: sockaddr, pinFd: -1, path: '' };
  flows.add(
    flowAt(door),
    () => target,
    (flow, found) => {
      const options = { door, flow, domain: 1, type: 1, request: frame, idAt: idAt(frame), reply, ...found };
      const added = native.addRequestFlow({ ...options, replyIdAt: idAt(reply) });
      if (added) number = flow;
      return added;
    },
  );
  return number;
}

test('a door that is closed takes no flow, and nothing is pinned for it', () => {
  const { flows } = newFlows(4);
  const { channel } = channelOf(flows);
  expect(flows.comesAgain(channel.door, 'key')).toBe(false);
  expect(flows.comesAgain(channel.door, 'key')).toBe(true);
  channel.close();
  for (let twice = 0; twice < 2; twice += 1) expect(flows.comesAgain(channel.door, 'key')).toBe(false);
  const target = vi.fn<() => FlowTarget>();
  flows.add(flowAt(channel.door), target, () => true);
  expect(target).not.toHaveBeenCalled();
  expect(flows.size).toBe(0);
});

test('a request has one flow, and the one that is there stays', () => {
  const { flows } = newFlows(4);
  const { channel } = channelOf(flows);
  const first = add(flows, channel.door, 'unix:/a');
  expect(add(flows, channel.door, 'unix:/a')).toBeUndefined();
  expect(flows.size).toBe(1);
  expect(flows.get(first as number)).toBeDefined();
});

test('a frame with which a flow has begun makes no second one', () => {
  const { flows } = newFlows(4);
  const { channel } = channelOf(flows);
  const bytes = request(5n, 'unix:/a');
  const socket = new OwnedFd(native.createSocket({ domain: 1, type: 1, protocol: 0 }));
  using frame = new Frame(bytes, channel.door, { flow: 1, errno: 0, fd: socket.release() });
  frame.takeBegun()?.socket.close();
  const comesAgain = vi.spyOn(flows, 'comesAgain');
  const broker = { flows } as unknown as Parameters<Frame['remember']>[0];
  frame.remember(broker, {
    request: { type: 'connect', id: 5n, address: 'unix:/a', timeoutMs: 1000 },
    address,
    family: 1,
    type: 1,
    rule,
  });
  expect(comesAgain).not.toHaveBeenCalled();
});

test('doors fill up apart, and see apart what comes again', () => {
  const { flows } = newFlows(2);
  const [one, other] = [channelOf(flows).channel.door, channelOf(flows).channel.door];
  const kept = add(flows, one, 'unix:/a') as number;
  expect(flows.comesAgain(one, 'key')).toBe(false);
  for (let each = 0; each < 300; each += 1) {
    add(flows, other, `unix:/${each}`);
    flows.comesAgain(other, `${each}`);
  }
  expect(flows.size).toBe(3);
  expect(flows.get(kept)).toBeDefined();
  expect(flows.comesAgain(one, 'key')).toBe(true);
});

test('a flow that is not used is forgotten, and one that is used stays', async () => {
  using folder = scratch();
  const at = addressToSockaddr(parseAddress(`unix:${folder.path}/a`));
  using listener = new OwnedFd(native.createSocket({ domain: 1, type: 1, protocol: 0 }));
  native.bindSocket({ fd: listener.fd, address: at });
  native.listenSocket({ fd: listener.fd, backlog: 8 });
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  const { flows, served } = newFlows(4);
  const { channel, peer } = channelOf(flows);
  const unused = add(flows, channel.door, 'unix:/b') as number;
  const used = add(flows, channel.door, `unix:${folder.path}/a`, at) as number;
  // New ones are looked at for the first time.
  vi.advanceTimersByTime(10_000);
  expect(flows.size).toBe(2);
  native.sendMessage({ fd: peer.fd, data: request(2n ** 56n, `unix:${folder.path}/a`), fds: [] });
  await readable(peer.fd);
  expect(served[0]).toBe(1n);
  vi.advanceTimersByTime(10_000);
  expect(flows.get(unused)).toBeUndefined();
  expect(flows.get(used)).toBeDefined();
  vi.advanceTimersByTime(10_000);
  expect(flows.size).toBe(0);
  expect(vi.getTimerCount()).toBe(0);
});
