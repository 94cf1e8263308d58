// SPDX-License-Identifier: Apache-2.0
// Attacks on the flow cache: nothing that was not judged gets what was, and nothing is given by what held a moment ago.
import { execFileSync } from 'node:child_process';
import { readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import { decodeRequest, decodeServerMessage, encodeRequest, protocolLimits } from '../../core/broker/protocol.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import { addressToSockaddr, parseAddress } from '../../core/policy/address/index.ts';
import { native } from '../../native/index.ts';
import { connectFrameWithExtension } from '../brokers/extension.ts';
import { type Packet, World } from '../brokers/flow-worlds.ts';
import { brokerRules, profileOf } from '../brokers/policy.ts';
import { fdCount, newJournal, scratch, startBroker } from '../brokers/rig.ts';
import { readable } from '../native/fds.ts';

const brokered = { kind: 'broker' } as const;
const worlds: World[] = [];

afterEach(async () => {
  for (const world of worlds.splice(0)) await world.end();
});

async function worldOf(args: readonly string[] = []): Promise<World> {
  const world = await World.start(
    (folder) =>
      profileOf({
        start: { rules: [`connect unix:${folder}/a*`], actions: { connect: brokered } },
        running: { rules: [`connect unix:${folder}/b`], actions: { connect: brokered } },
      }),
    args,
  );
  worlds.push(world);
  world.listen(`unix:${world.folder}/a`);
  return world;
}

/** Asks until a flow answers. */
async function warm(world: World): Promise<void> {
  const before = world.byFlows;
  for (let asked = 0; asked < 3; asked += 1) await world.explicit(`unix:${world.folder}/a`);
  expect(world.byFlows).toBeGreaterThan(before);
}

async function warmCall(world: World): Promise<void> {
  const before = world.byFlows;
  for (let asked = 0; asked < 3; asked += 1) expect(await world.transparent(`unix:${world.folder}/a`)).toBe('ok');
  expect(world.byFlows).toBeGreaterThan(before);
}

function classOf(packet: Packet | undefined): string {
  if (packet === undefined) return 'end';
  const message = decodeServerMessage(packet.data);
  return message.type === 'result' ? `${message.class} ${packet.fds}` : message.type;
}

/** Those told, and those in sums. */
function decisionsIn(trail: string): number {
  const told = trail.match(/"verdict":"(granted|refused)"/g)?.length ?? 0;
  const sums = [...trail.matchAll(/"(?:grants|refusals) that were counted only","count":(\d+)/g)];
  return sums.reduce((sum, [, count]) => sum + Number(count), told);
}

test('a frame that differs from a known one in any byte is judged by what it says', async () => {
  const world = await worldOf();
  world.listen(`unix:${world.folder}/ab`);
  await warm(world);
  const length = world.connectFrame(`unix:${world.folder}/a`).length;
  for (let at = 0; at < length; at += 1) {
    const frame = Buffer.from(world.connectFrame(`unix:${world.folder}/a`));
    const id = decodeRequest(frame).id;
    frame[at] = (frame[at] ?? 0) ^ 1;
    let expected = 'end';
    try {
      const request = decodeRequest(frame);
      const same = request.type === 'connect' && request.address === `unix:${world.folder}/a`;
      if (request.id > id || request.id === id) expected = same ? 'ok 1' : 'not ok';
      else expected = 'end';
    } catch {
      // No request at all.
    }
    const found = classOf(await world.ask(frame));
    if (expected === 'not ok') expect(found, `byte ${at}`).not.toMatch(/^ok/);
    else expect(found, `byte ${at}`).toBe(expected);
    if (found === 'end' || expected !== 'not ok') {
      await world.renewAgent();
      await warm(world);
    }
  }
}, 60_000);

test.each([
  ['with a byte more', (frame: Buffer) => Buffer.concat([frame, Buffer.from([0])])],
  ['twice in one packet', (frame: Buffer) => Buffer.concat([frame, frame])],
  ['cut', (frame: Buffer) => frame.subarray(0, -1)],
])('a known frame %s ends the channel', async (_what, change) => {
  const world = await worldOf();
  await warm(world);
  expect(await world.ask(change(Buffer.from(world.connectFrame(`unix:${world.folder}/a`))))).toBeUndefined();
});

test.each([0n, 1n, 3n])('a known request with number %s after 3 ends the channel', async (id) => {
  const world = await worldOf();
  await warm(world);
  const frame = Buffer.from(
    encodeRequest({ type: 'connect', id: 3n, address: `unix:${world.folder}/a`, timeoutMs: 1000 }),
  );
  const at = frame.indexOf(Buffer.from('0000000000000003', 'hex'));
  frame.writeBigUInt64BE(id, at);
  expect(await world.ask(frame)).toBeUndefined();
});

test('a number that is negative as it is written is no great one', async () => {
  const world = await worldOf();
  await warm(world);
  const frame = Buffer.from(
    encodeRequest({ type: 'connect', id: 9n, address: `unix:${world.folder}/a`, timeoutMs: 1000 }),
  );
  const at = frame.indexOf(Buffer.from('0000000000000009', 'hex'));
  expect(frame[at - 1]).toBe(0xd3);
  frame[at] = 0x80;
  expect(await world.ask(frame)).toBeUndefined();
});

test.each([
  ['2^64', 2n ** 64n, 9],
  ['2^64 + 1', 2n ** 64n + 1n, 9],
  ['of 100 bytes', 2n ** 791n, 100],
  ['negative', -1n, 9],
])('a number that is written as an extension and is %s ends its channel alone', async (_what, id, bytes) => {
  const world = await worldOf();
  const fds = fdCount(world.broker.pid);
  const frame = connectFrameWithExtension(id, bytes, `unix:${world.folder}/a`);
  expect(await world.ask(frame)).toBeUndefined();
  await expect.poll(() => fdCount(world.broker.pid)).toBe(fds - 1);
  expect((await world.broker.client.status()).allowed).toBe(0);
});

test('numbers of flows and of judged requests are one series', async () => {
  const world = await worldOf();
  await warm(world);
  const earlier = world.connectFrame(`unix:${world.folder}/a`);
  expect(classOf(await world.ask(world.connectFrame(`unix:${world.folder}/none`)))).toBe('denied 0');
  expect(await world.ask(earlier)).toBeUndefined();
});

test('a stage change ends what flows know, for requests and calls that wait behind it too', async () => {
  const world = await worldOf();
  await warm(world);
  await warmCall(world);
  const before = world.byFlows;
  await world.broker.client.enterStage(1);
  expect(classOf(await world.ask(world.connectFrame(`unix:${world.folder}/a`)))).toBe('denied 0');
  expect(await world.transparent(`unix:${world.folder}/a`)).toBe('EACCES');
  expect(world.byFlows).toBe(before);
});

test('while a stage is entered nothing is granted by the one before, however many ask', async () => {
  const world = await worldOf();
  await warm(world);
  const frames = Array.from({ length: 40 }, () => world.connectFrame(`unix:${world.folder}/a`));
  for (const frame of frames.slice(0, 20)) world.send(frame);
  const entered = world.broker.client.enterStage(1);
  const entering: string[] = [];
  for (let each = 0; each < 20; each += 1) entering.push(classOf(await world.packet()));
  await entered;
  // Up to some moment all were granted, and none after it.
  expect(entering.join(',')).toMatch(/^(ok 1,?)*((denied|stage) 0,?)*$/);
  for (const frame of frames.slice(20)) expect(classOf(await world.ask(frame))).toBe('denied 0');
});

test('the use of a counted grant ends no flow', async () => {
  const world = await World.start((folder) => {
    const plain = profileOf({ start: { rules: [`connect unix:${folder}/a`], actions: { connect: brokered } } });
    const mayGrant = brokerRules([`connect unix:${folder}/b`]).map((rule) => ({ ...rule, mayGrant: true }));
    return { ...plain, stages: plain.stages.map((stage) => ({ ...stage, broker: [...stage.broker, ...mayGrant] })) };
  });
  worlds.push(world);
  const [known, granted] = [`unix:${world.folder}/a`, `unix:${world.folder}/b`];
  world.listen(known);
  world.listen(granted);
  await world.broker.client.grant({ request: 'connect', target: granted, throughEpoch: 0, uses: 2 });
  await warm(world);
  const before = world.byFlows;
  expect(await world.transparent(granted)).toBe('ok');
  expect(classOf(await world.ask(world.connectFrame(known)))).toBe('ok 1');
  expect(world.byFlows).toBe(before + 1);
});

test('a socket that takes the place of another is the one that is reached', async () => {
  const world = await worldOf();
  const address = `unix:${world.folder}/a`;
  await warm(world);
  await warmCall(world);
  world.waiting(address);
  rmSync(`${world.folder}/a`);
  world.listen(address);
  expect(classOf(await world.ask(world.connectFrame(address)))).toBe('ok 1');
  expect(await world.transparent(address)).toBe('ok');
  expect(world.waiting(address)).toBe(2);
});

test('a link in the place of a known socket leads nowhere that is not granted', async () => {
  const world = await worldOf();
  const address = `unix:${world.folder}/a`;
  await warm(world);
  await warmCall(world);
  // The very inode that is known, by a name that is not granted.
  renameSync(`${world.folder}/a`, `${world.folder}/secret`);
  expect(await world.transparent(address)).toBe('ENOENT');
  symlinkSync('secret', `${world.folder}/a`);
  expect(classOf(await world.ask(world.connectFrame(address)))).toBe('errno 0');
  expect(await world.transparent(address)).toBe('ELOOP');
});

test('a socket of another kind is judged by its kind', async () => {
  const world = await worldOf();
  const address = `unix:${world.folder}/a`;
  await warmCall(world);
  const before = world.byFlows;
  expect(await world.transparent(address, 2)).toBe('EPROTOTYPE');
  expect(await world.transparent(address, 5)).toBe('EPROTOTYPE');
  expect(world.byFlows).toBe(before);
});

test('a client that does not read gets every answer in its turn, and each descriptor once', async () => {
  const world = await worldOf();
  await warm(world);
  const fds = fdCount(world.broker.pid);
  const count = protocolLimits.maxOutstanding * 3;
  const frames = Array.from({ length: count }, () => world.connectFrame(`unix:${world.folder}/a`));
  const wanted = frames.map((frame) => decodeRequest(frame).id);
  for (const frame of frames) world.send(frame);
  const got: bigint[] = [];
  for (const _ of frames) {
    const packet = await world.packet();
    const message = decodeServerMessage((packet as Packet).data);
    if (message.type !== 'result') throw new Error(message.type);
    expect(classOf(packet)).toMatch(/^(ok 1|busy 0)$/);
    got.push(BigInt(message.id));
  }
  expect(got.toSorted((left, right) => Number(left - right))).toEqual(wanted);
  await world.broker.client.status();
  // A flow that was not used for a while may have given its pin back meanwhile.
  expect(fdCount(world.broker.pid)).toBeLessThanOrEqual(fds);
});

test('a client that leaves while it is connected pins nothing', async () => {
  const world = await worldOf();
  const address = `unix:${world.folder}/a`;
  await world.explicit(address);
  rmSync(`${world.folder}/a`);
  const sockaddr = addressToSockaddr(parseAddress(address));
  using listener = new OwnedFd(native.createSocket({ domain: 1, type: 1, protocol: 0 }));
  using filler = new OwnedFd(native.createSocket({ domain: 1, type: 1, protocol: 0 }));
  native.bindSocket({ fd: listener.fd, address: sockaddr });
  native.listenSocket({ fd: listener.fd, backlog: 0 });
  native.connectSocket({ fd: filler.fd, address: sockaddr });
  const before = fdCount(world.broker.pid);
  world.send(encodeRequest({ type: 'connect', id: 5n, address, timeoutMs: 30_000 }));
  await expect.poll(async () => (await world.broker.client.status()).pending).toBe(1);
  const waiting = fdCount(world.broker.pid);
  await world.renewAgent();
  // The old channel has gone.
  await expect.poll(() => fdCount(world.broker.pid)).toBe(waiting);
  const accept = () => native.acceptConnection({ fd: listener.fd });
  for (let accepted = 0; accepted < 2; accepted += 1) {
    await readable(listener.fd);
    native.closeFd({ fd: accept() as number });
  }
  await expect.poll(async () => (await world.broker.client.status()).allowed).toBe(2);
  // Fewer when what was answered before was still being put away then.
  expect(fdCount(world.broker.pid)).toBeLessThanOrEqual(before);
});

test('without free descriptors a flow fails as a judged request does, and recovers', async () => {
  const world = await worldOf();
  await warm(world);
  await warmCall(world);
  const limit = (soft: number) => execFileSync('prlimit', ['--pid', String(world.broker.pid), `--nofile=${soft}:`]);
  limit(3);
  expect(classOf(await world.ask(world.connectFrame(`unix:${world.folder}/a`)))).toBe('errno 0');
  expect(await world.transparent(`unix:${world.folder}/a`)).toBe('EMFILE');
  limit(1024);
  await warm(world);
  await warmCall(world);
});

test('every decision of a flow is told, or counted in a sum', async () => {
  const world = await worldOf();
  await warm(world);
  const total = 600;
  for (let asked = 0; asked < total; asked += 1) await world.ask(world.connectFrame(`unix:${world.folder}/a`));
  expect((await world.broker.client.status()).allowed).toBe(total + 3);
  expect(world.byFlows).toBe(total + 1);
  const counted = await world.broker.event(
    (event) => event.type === 'broker' && event.what === 'grants that were counted only',
  );
  const trail = (await worlds.pop()?.end())?.join('\n') ?? '';
  const told = trail.split('"verdict":"granted"').length - 1;
  const sums = [...trail.matchAll(/"grants that were counted only","count":(\d+)/g)];
  const summed = sums.reduce((sum, [, count]) => sum + Number(count), 0);
  expect((counted as { count: number }).count).toBeGreaterThan(0);
  expect(told + summed).toBe(total + 3);
  expect(told).toBeGreaterThanOrEqual(200);
});

test('what flows decided is told or summed up when the launcher has gone before it could be told', async () => {
  const world = await worldOf();
  await warm(world);
  // A refusal tells first what flows decided: what waits to be told would find the launcher gone before anything is served.
  expect(classOf(await world.ask(world.connectFrame(`unix:${world.folder}/none`)))).toBe('denied 0');
  const { pid, child, client } = world.broker;
  child.kill('SIGSTOP');
  await expect.poll(() => readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.[0]).toBe('T');
  const before = world.byFlows;
  for (let asked = 0; asked < 30; asked += 1) world.send(world.connectFrame(`unix:${world.folder}/a`));
  world.send(world.connectFrame(`unix:${world.folder}/none`));
  client.close();
  child.kill('SIGCONT');
  await world.broker.exited;
  expect(world.byFlows).toBe(before + 30);
  const trail = (await worlds.pop()?.end())?.join('\n') ?? '';
  expect(decisionsIn(trail)).toBe(3 + 1 + 30 + 1);
});

test('a broker that takes over goes on with the count of what flows answered', async () => {
  using folder = scratch();
  using journal = newJournal();
  const profile = profileOf({ start: { rules: [`connect unix:${folder.path}/a`] } });
  const address = addressToSockaddr(parseAddress(`unix:${folder.path}/a`));
  using listener = new OwnedFd(native.createSocket({ domain: address[0] as number, type: 1, protocol: 0 }));
  native.bindSocket({ fd: listener.fd, address });
  native.listenSocket({ fd: listener.fd, backlog: 64 });
  const first = await startBroker(profile, [], [], journal);
  for (let asked = 0; asked < 5; asked += 1) (await first.client.connect(`unix:${folder.path}/a`)).close();
  first.child.kill('SIGKILL');
  await first.exited;
  first.client.close();
  await using second = await startBroker(profile, [], [], journal);
  expect((await second.client.status()).allowed).toBe(5);
});
