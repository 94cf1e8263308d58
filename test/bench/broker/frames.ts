// SPDX-License-Identifier: Apache-2.0
// node dist/test/bench/broker/frames.js [FRAMES] [REQUESTS]: random and mutated frames against the decoder and, one in ten, against a broker (each that ends a channel costs a new
// one); then requests at the limits. Prints what came of them, and what the broker holds before and after. Ends with 1 when it died or holds more descriptors.
import { readdirSync, readFileSync } from 'node:fs';
import { decodeRequest, encodeRequest, protocolLimits, type Request } from '../../../core/broker/protocol.ts';
import { print } from '../../../core/cli/output.ts';
import { RatchetError } from '../../../core/errors.ts';
import type { OwnedFd } from '../../../core/owned-fd.ts';
import { native } from '../../../native/index.ts';
import { profileOf } from '../../brokers/policy.ts';
import { type ServedBroker, scratch, startBroker } from '../../brokers/rig.ts';
import { readable } from '../../native/fds.ts';

const seeds: readonly Request[] = [
  { type: 'connect', id: 7n, address: 'tcp:127.0.0.1:80', timeoutMs: 100 },
  { type: 'bind', id: 7n, address: 'unix:/tmp/x', backlog: 3 },
  { type: 'open', id: 7n, path: '/etc/hostname', access: 'ro', create: false },
  { type: 'tap', id: 7n, name: 'rt%d', multiQueue: true, bridge: 'br0' },
  { type: 'device', id: 7n, kind: 'char', major: 1, minor: 3, access: 'rw' },
  { type: 'memory', id: 7n, bytes: 4096, seals: ['grow'] },
  { type: 'exec', id: 7n, program: 'pack', output: '/tmp/x' },
  { type: 'ended', id: 7n, number: 1, what: 'exited', errno: 5 },
  { type: 'grant', id: 7n, request: 'open', target: '/x', throughEpoch: 0, uses: 1, forMs: 5 },
  { type: 'status', id: 7n },
];

/** Park-Miller: the same frames on every run. */
function* numbers(seed: number): Generator<number, never> {
  for (let state = seed; ; ) {
    state = (state * 48_271) % 0x7fff_ffff;
    yield state;
  }
}

/** Bytes at random, or a good request with some bytes changed, cut, or written twice. */
export function* frames(seed: number): Generator<Uint8Array, never> {
  const source = numbers(seed);
  const next = (below: number): number => (source.next().value >>> 3) % below;
  const good = seeds.map(encodeRequest);
  for (;;) {
    if (next(4) === 0) {
      yield Uint8Array.from({ length: 1 + next(next(20) === 0 ? protocolLimits.maxRequestBytes : 60) }, () =>
        next(256),
      );
      continue;
    }
    const frame = Buffer.from(good[next(good.length)] ?? []);
    for (let change = next(4); change >= 0; change -= 1) frame[next(frame.length)] = next(256);
    const cut = next(6) === 0 ? frame.subarray(0, 1 + next(frame.length)) : frame;
    yield next(12) === 0 ? Buffer.concat([cut, frame]) : cut;
  }
}

/** Through the decoder: every one is a request or a broken rule of the protocol, and nothing else. */
export function decodeMany(count: number): { readonly requests: number; readonly refused: number } {
  const source = frames(20_261_124);
  let requests = 0;
  let refused = 0;
  for (let frame = 0; frame < count; frame += 1) {
    try {
      decodeRequest(source.next().value);
      requests += 1;
    } catch (error) {
      if (!(error instanceof RatchetError && error.code === 'BROKER_PROTOCOL')) throw error;
      refused += 1;
    }
  }
  return { requests, refused };
}

/** Against a broker, as agents. Gives how many channels it ended. */
export async function sendMany({ client }: ServedBroker, count: number, seed = 42): Promise<number> {
  const source = frames(seed);
  let ended = 0;
  let channel: OwnedFd | undefined;
  for (let frame = 0; frame < count; frame += 1) {
    channel ??= await greeted(await client.addAgent('hostile'));
    try {
      native.sendMessage({ fd: channel.fd, data: source.next().value, fds: [] });
    } catch {
      // The broker had ended it by then.
    }
    if (await answered(channel.fd)) continue;
    ended += 1;
    channel.close();
    channel = undefined;
  }
  channel?.close();
  return ended;
}

async function greeted(channel: OwnedFd): Promise<OwnedFd> {
  await answered(channel.fd);
  return channel;
}

/** False when the channel has ended. An fd that comes is closed. */
async function answered(fd: number): Promise<boolean> {
  for (;;) {
    const received = native.receiveMessage({ fd, maxBytes: protocolLimits.maxReplyBytes, maxFds: 2 });
    if (received.kind === 'end') return false;
    if (received.kind === 'again') await readable(fd);
    else {
      for (const each of received.fds) native.closeFd({ fd: each });
      return true;
    }
  }
}

/** As many requests at one time as there may be, and more; the largest; refused and granted ones. */
export async function requestMany({ client }: ServedBroker, folder: string, count: number): Promise<void> {
  const long = `/${'x'.repeat(1000)}`;
  for (let made = 0; made < count; ) {
    const turn = Array.from({ length: protocolLimits.maxOutstanding + 8 }, (_, index) => {
      if (index % 4 === 0) return client.open(long);
      if (index % 4 === 1) return client.open(`${folder}/file`, 'rw', { create: true });
      return index % 4 === 2 ? client.memory(4096) : client.status();
    });
    for (const outcome of await Promise.allSettled(turn)) {
      if (outcome.status === 'rejected' && !(outcome.reason instanceof RatchetError)) throw outcome.reason;
      if (outcome.status === 'fulfilled' && 'close' in outcome.value) outcome.value.close();
    }
    made += turn.length;
  }
}

export function held(pid: number): { readonly rssAnonMb: number; readonly fds: number } {
  const rss = /^RssAnon:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return { rssAnonMb: Math.round(Number(rss) / 102.4) / 10, fds: readdirSync(`/proc/${pid}/fd`).length };
}

async function main(frameCount: number, requestCount: number): Promise<void> {
  print(`decoder, ${frameCount} frames: ${JSON.stringify(decodeMany(frameCount))}`);
  using folder = scratch();
  await using broker = await startBroker(profileOf({ start: { rules: [`open ${folder.path}/*`, 'memory 1M'] } }));
  await broker.client.status();
  const before = held(broker.pid);
  print(`broker, before: ${JSON.stringify(before)}`);
  for (let part = 1; part <= 10; part += 1) {
    const ended = await sendMany(broker, frameCount / 100, part);
    print(`broker, ${(part * frameCount) / 100} frames: ${JSON.stringify({ ended, ...held(broker.pid) })}`);
  }
  for (let part = 1; part <= 10; part += 1) {
    await requestMany(broker, folder.path, requestCount / 10);
    print(`broker, ${(part * requestCount) / 10} requests: ${JSON.stringify(held(broker.pid))}`);
  }
  const { denied, allowed } = await broker.client.status();
  print(`allowed ${allowed}, denied ${denied}`);
  if (held(broker.pid).fds > before.fds) process.exitCode = 1;
}

if (process.argv[1]?.endsWith('frames.js') === true)
  await main(Number(process.argv[2] ?? 1_000_000), Number(process.argv[3] ?? 100_000));
