// SPDX-License-Identifier: Apache-2.0
// A launcher's channel in hostile hands: the broker cuts it off and ends, or answers; it never crashes, hangs or keeps an fd.
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { encodeFrame } from '../../core/broker/frame.ts';
import { decodeServerMessage, encodeRequest, type ServerMessage } from '../../core/broker/protocol.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import { native } from '../../native/index.ts';
import { profileOf } from '../brokers/policy.ts';
import { type BrokerUnderTest, fdCount, spawnBroker } from '../brokers/rig.ts';
import { readable } from '../native/fds.ts';

const profile = profileOf({ start: { rules: ['open /dev/null'] } });
const cutOff = { code: 3, signal: null };
let open: OwnedFd[] = [];

afterEach(() => {
  for (const fd of open) fd.close();
  open = [];
});

function start(): { broker: BrokerUnderTest; channel: OwnedFd } {
  const broker = spawnBroker(profile);
  const channel = new OwnedFd(broker.channelFd);
  open.push(channel);
  return { broker, channel };
}

async function next(channel: OwnedFd): Promise<{ message: ServerMessage; fds: OwnedFd[] } | undefined> {
  for (;;) {
    const received = native.receiveMessage({ fd: channel.fd, maxBytes: 65_536, maxFds: 1 });
    if (received.kind === 'end') return undefined;
    if (received.kind === 'message')
      return { message: decodeServerMessage(received.data), fds: received.fds.map((fd) => new OwnedFd(fd)) };
    await readable(channel.fd);
  }
}

async function nextResult(channel: OwnedFd): Promise<ServerMessage & { type: 'result' }> {
  for (;;) {
    const packet = await next(channel);
    if (packet === undefined) throw new Error('the channel has ended');
    for (const fd of packet.fds) fd.close();
    if (packet.message.type === 'result') return packet.message;
  }
}

const send = (channel: OwnedFd, data: Uint8Array, fds: readonly number[] = []) =>
  native.sendMessage({ fd: channel.fd, data, fds });
const status = (id: bigint) => encodeRequest({ type: 'status', id });

describe('a frame that is', () => {
  test.each([
    ['not msgpack', Buffer.from([0xc1])],
    ['no map', encodeFrame(5)],
    ['truncated', status(1n).slice(0, -1)],
    ['followed by more', Buffer.concat([status(1n), Buffer.from([0])])],
    ['of an unknown type', encodeFrame({ type: 'exec', id: 1n })],
    ['one with an unknown key', encodeFrame({ type: 'status', id: 1n, admin: true })],
    ['larger than the cap', Buffer.alloc(4097, 0x80)],
    ['much larger than the cap', Buffer.alloc(100_000, 0x80)],
    ['200 nested arrays', Buffer.alloc(200, 0x91)],
    ['4000 nested arrays', Buffer.alloc(4000, 0x91)],
    ['a map that claims 2^32-1 entries', Buffer.from([0xdf, 0xff, 0xff, 0xff, 0xff])],
    ['a text that claims 2^32-1 bytes', Buffer.from([0xdb, 0xff, 0xff, 0xff, 0xff])],
    ['a record definition', Buffer.from('d4724091a161a162', 'hex')],
    ['an attempt on the prototype', encodeFrame(JSON.parse('{"type":"status","id":1,"__proto__":{"x":1}}'))],
  ])('%s ends the channel and the broker', async (_what, frame) => {
    const { broker, channel } = start();
    await next(channel);
    send(channel, frame);
    expect(await broker.exited).toEqual(cutOff);
    expect(await broker.log).toContain('the channel was cut off');
  });
});

test('a replayed or smaller id ends the channel', async () => {
  for (const replay of [7n, 6n]) {
    const { broker, channel } = start();
    await next(channel);
    send(channel, status(7n));
    expect(await nextResult(channel)).toMatchObject({ id: 7n, class: 'ok' });
    send(channel, status(replay));
    expect(await broker.exited).toEqual(cutOff);
  }
});

describe('fds', () => {
  const someFds = (count: number) => {
    const fds = Array.from(
      { length: count },
      () => new OwnedFd(native.memfd({ name: 'x', data: Buffer.from('x'), seal: false })),
    );
    open.push(...fds);
    return fds.map(({ fd }) => fd);
  };

  test.each([
    ['one with a status request', status(1n), 1],
    ['two with a status request', status(1n), 2],
    ['253 with a status request', status(1n), 253],
    ['none with an attach', encodeRequest({ type: 'attachListener', id: 1n }), 0],
    ['two with an attach', encodeRequest({ type: 'attachListener', id: 1n }), 2],
  ])('%s end the channel', async (_what, frame, count) => {
    const { broker, channel } = start();
    await next(channel);
    send(channel, frame, someFds(count));
    expect(await broker.exited).toEqual(cutOff);
  });

  test('that are no listener are closed, however often they come', async () => {
    const { broker, channel } = start();
    await next(channel);
    const [fd] = someFds(1);
    let before = 0;
    for (let id = 1n; id <= 500n; id += 1n) {
      send(channel, encodeRequest({ type: 'attachListener', id }), [fd as number]);
      expect(await nextResult(channel)).toMatchObject({ id, class: 'errno' });
      if (id === 10n) before = fdCount(broker.pid);
    }
    expect(fdCount(broker.pid)).toBeLessThanOrEqual(before + 1);
  });
});

test('thousands of requests leave the number of fds as it was', async () => {
  const { broker, channel } = start();
  await next(channel);
  let id = 0n;
  const ask = async (request: Parameters<typeof encodeRequest>[0]) => {
    send(channel, encodeRequest(request));
    return await nextResult(channel);
  };
  const round = async () => {
    expect(await ask({ type: 'open', id: ++id, path: '/dev/null', access: 'rw' })).toMatchObject({ id, class: 'ok' });
    expect(await ask({ type: 'open', id: ++id, path: '/dev/zero', access: 'rw' })).toMatchObject({
      id,
      class: 'denied',
    });
    expect(await ask({ type: 'connect', id: ++id, address: 'nonsense', timeoutMs: 5 })).toMatchObject({
      id,
      class: 'errno',
    });
    expect(await ask({ type: 'stage', id: ++id, epoch: 0 })).toMatchObject({ id, class: 'stage' });
  };
  await round();
  const before = fdCount(broker.pid);
  for (let count = 0; count < 750; count += 1) await round();
  expect(fdCount(broker.pid)).toBe(before);
});

test('a launcher that never reads has its requests bounded, and the broker ends with it', async () => {
  const { broker, channel } = start();
  await readable(channel.fd);
  let id = 0n;
  // Until our own sends find the socket full: the broker has stopped reading, or answers nobody takes fill its side.
  for (let full = 0; full < 50 && id < 20_000n; ) {
    if (send(channel, encodeRequest({ type: 'open', id: ++id, path: '/dev/zero', access: 'rw' })) < 0) {
      id -= 1n;
      full += 1;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  channel.close();
  expect(await broker.exited).toEqual({ code: 0, signal: null });
});

test('random and mutated frames never crash it', async () => {
  const valid = encodeRequest({ type: 'connect', id: 5n, address: 'tcp:127.0.0.1:4444', timeoutMs: 100 });
  const mutated = fc
    .array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { minLength: 1, maxLength: 3 })
    .map((changes) => changes.reduce((bytes, [at, value]) => bytes.with(at, value), Uint8Array.from(valid)));
  const frame = fc.oneof(fc.uint8Array({ minLength: 1, maxLength: 64 }), mutated);
  await fc.assert(
    fc.asyncProperty(frame, async (bytes) => {
      const { broker, channel } = start();
      await next(channel);
      send(channel, bytes);
      channel.close();
      expect([0, 3]).toContain((await broker.exited).code);
    }),
    { numRuns: 12 },
  );
});
