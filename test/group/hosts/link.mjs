// SPDX-License-Identifier: Apache-2.0
// A way between two hosts: what comes out of one TUN device (fd 3) goes into the other (fd 4), and back, later, in order, and not always. Lost packets are a
// matter of the seed alone. Takes lines on stdin: `cut`, `mend`, and `after N`, which it answers with `reached` when N more bytes have gone from the first to the second;
// `after N cut` cuts it then. Ends at the end of stdin, with its counts.
import { constants, readSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const native = createRequire(import.meta.url)('../../../build/Release/ratchet.node');
const { delayMs, jitterMs, loss, bytesPerSecond, seed } = JSON.parse(process.argv[2]);
/** What a router keeps waiting before it drops more. */
const queueMs = 200;
const packet = Buffer.alloc(65_536);
let isCut = false;
let mark = { bytes: Number.POSITIVE_INFINITY, cuts: false };

const ways = [wayFrom(3, 4, seed), wayFrom(4, 3, seed + 1)];

const watches = ways.map((way) => {
  native.setStatusFlags({ fd: way.from, flags: native.getStatusFlags({ fd: way.from }) | constants.O_NONBLOCK });
  return native.watchFd({ fd: way.from, readable: true, writable: false }, () => take(way));
});

for await (const line of createInterface({ input: process.stdin })) {
  const [word, count, then] = line.split(' ');
  if (word === 'cut') cut();
  if (word === 'mend') isCut = false;
  if (word === 'after') mark = { bytes: ways[0].bytes + Number(count), cuts: then === 'cut' };
}
for (const watch of watches) watch.close();
for (const { timer } of ways) clearTimeout(timer);
process.stdout.write(`${JSON.stringify(ways.map(({ bytes, packets, lost }) => ({ bytes, packets, lost })))}\n`);

function wayFrom(from, to, start) {
  return {
    from,
    to,
    random: randomFrom(start),
    queue: [],
    freeAt: 0,
    lastDue: 0,
    timer: undefined,
    bytes: 0,
    packets: 0,
    lost: 0,
  };
}

function cut() {
  isCut = true;
  for (const way of ways) way.queue.length = 0;
}

function reached() {
  const { cuts } = mark;
  mark = { bytes: Number.POSITIVE_INFINITY, cuts: false };
  if (cuts) cut();
  process.stdout.write('reached\n');
}

/** A burst of packets, and then others have their turn. */
function take(way) {
  for (let index = 0; index < 64; index++) {
    let length;
    try {
      length = readSync(way.from, packet, 0, packet.length, null);
    } catch (error) {
      if (error.code === 'EAGAIN') return;
      throw error;
    }
    pass(way, Buffer.from(packet.subarray(0, length)));
  }
}

function pass(way, data) {
  const lost = way.random() < loss;
  const jitter = way.random() * jitterMs;
  const now = performance.now();
  way.freeAt = Math.max(now, way.freeAt);
  if (isCut || lost || way.freeAt - now > queueMs) {
    way.lost++;
    return;
  }
  way.freeAt += (data.length / bytesPerSecond) * 1000;
  way.lastDue = Math.max(way.lastDue, way.freeAt + delayMs + jitter);
  way.queue.push({ data, due: way.lastDue });
  way.timer ??= setTimeout(() => deliver(way), way.lastDue - now);
}

function deliver(way) {
  const now = performance.now();
  while (way.queue.length > 0 && way.queue[0].due <= now) {
    const { data } = way.queue.shift();
    writeSync(way.to, data);
    way.packets++;
    way.bytes += data.length;
    if (way === ways[0] && way.bytes >= mark.bytes) reached();
  }
  way.timer = way.queue.length === 0 ? undefined : setTimeout(() => deliver(way), way.queue[0].due - now);
}

/** mulberry32: every packet has its two numbers, whatever becomes of it. */
function randomFrom(start) {
  let state = start >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
