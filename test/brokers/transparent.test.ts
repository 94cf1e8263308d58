// SPDX-License-Identifier: Apache-2.0
// The transparent door, with a real program under a real filter.
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import type { RefusalEvent } from '../../core/broker/protocol.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import { addressToSockaddr, parseAddress, socketFamily } from '../../core/policy/address/index.ts';
import { native } from '../../native/index.ts';
import { profileOf } from './policy.ts';
import { fdCount, hex, type ServedBroker, scratch, startBroker, startVictim, type Victim } from './rig.ts';

const brokered = { kind: 'broker' } as const;
const network = { connect: brokered, bind: brokered };
const opens = { open: brokered, openat: brokered, openat2: brokered, creat: brokered };
const nonBlocking = 0o4000;
const sockaddr = (text: string) => hex(addressToSockaddr(parseAddress(text)));
const cleanUp: (() => unknown)[] = [];

afterEach(async () => {
  for (const step of cleanUp.splice(0).reverse()) await step();
});

async function rig(
  rules: readonly string[],
  running: readonly string[] = rules,
): Promise<{ broker: ServedBroker; victim: Victim }> {
  const ptrace = { ptrace: { kind: 'errno', errno: 1, quiet: false } as const };
  const broker = await startBroker(
    profileOf({
      start: { rules, actions: { ...network, ...ptrace } },
      running: { rules: running, actions: { ...network, ...opens, ...ptrace } },
    }),
  );
  cleanUp.push(() => broker[Symbol.asyncDispose]());
  const victim = await startVictim(broker.client);
  cleanUp.push(() => victim.end());
  return { broker, victim };
}

async function tcpServer(onConnection: () => void = () => undefined): Promise<number> {
  const server: Server = createServer((socket) => {
    onConnection();
    socket.on('error', () => undefined);
    socket.destroy();
  });
  cleanUp.push(() => new Promise((resolve) => server.close(resolve)));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** A listener that nobody accepts from, with room for one: what comes after waits. */
function fullListener(text: string): string {
  const address = parseAddress(text);
  const domain = addressToSockaddr(address)[0] as number;
  const listener = new OwnedFd(native.createSocket({ domain, type: 1, protocol: 0 }));
  cleanUp.push(() => listener.close());
  native.bindSocket({ fd: listener.fd, address: addressToSockaddr(address) });
  native.listenSocket({ fd: listener.fd, backlog: 0 });
  const bound = native.getSocketName({ fd: listener.fd });
  for (let filled = 0; filled < 2; filled += 1) {
    const filler = new OwnedFd(native.createSocket({ domain, type: 1, protocol: 0 }));
    cleanUp.push(() => filler.close());
    try {
      native.connectSocket({ fd: filler.fd, address: bound });
    } catch {
      // Full already.
    }
  }
  return hex(bound);
}

const isRefusal = (event: { type: string }) => event.type === 'refusal';

describe('connect', () => {
  test('leaves O_NONBLOCK as the caller had it', async () => {
    const port = await tcpServer();
    const { victim } = await rig([`connect tcp:127.0.0.1:${port}`]);
    const granted = sockaddr(`tcp:127.0.0.1:${port}`);
    expect(await victim.ask(`connect 2 1 0 ${granted}`)).toBe('ok');
    expect(await victim.ask(`connect 2 ${1 | nonBlocking} 0 ${granted}`)).toBe('EINPROGRESS nonblocking');
  });

  test('to a black hole delays nobody else, and ends with its caller', async () => {
    const hole = fullListener('tcp:127.0.0.1:0');
    const holePort = Buffer.from(hole, 'hex').readUInt16BE(2);
    const port = await tcpServer();
    const { broker, victim } = await rig([`connect tcp:127.0.0.1:${holePort}`, `connect tcp:127.0.0.1:${port}`]);
    const before = fdCount(broker.pid);
    for (let thread = 0; thread < 5; thread += 1) victim.tell(`meanwhile connect 2 1 0 ${hole}`);
    expect(await victim.ask(`connect 2 1 0 ${sockaddr(`tcp:127.0.0.1:${port}`)}`)).toBe('ok');
    (await broker.client.connect(`tcp:127.0.0.1:${port}`)).close();
    expect((await broker.client.status()).pending).toBe(5);
    await victim.end();
    await broker.event(({ type }) => type === 'broker');
    const { pending, listener } = await broker.client.status();
    expect({ pending, listener, fds: fdCount(broker.pid) }).toEqual({ pending: 0, listener: 'ended', fds: before - 1 });
  });

  test('waits while a unix listener has no room, and a non-blocking one does not', async () => {
    using directory = scratch();
    const path = join(directory.path, 'full.sock');
    const full = fullListener(`unix:${path}`);
    const { broker, victim } = await rig([`connect unix:${path}`], []);
    expect(await victim.ask(`connect 1 ${1 | nonBlocking} 0 ${full}`)).toBe('EAGAIN nonblocking');
    victim.tell(`meanwhile connect 1 1 0 ${full}`);
    // The order of notifications is that of the calls; this one is answered after the waiting one was taken up.
    await broker.event(({ type }) => type === 'grant');
    while ((await broker.client.status()).pending === 0);
    // A stage that does not grant it ends the wait.
    await broker.client.enterStage(1);
    expect(await victim.line()).toBe('EACCES');
  });

  test('under way is taken back by a stage that does not grant it', async () => {
    const hole = fullListener('tcp:127.0.0.1:0');
    const holePort = Buffer.from(hole, 'hex').readUInt16BE(2);
    const { broker, victim } = await rig([`connect tcp:127.0.0.1:${holePort}`], []);
    const explicit = broker.client.connect(`tcp:127.0.0.1:${holePort}`, { timeoutMs: 50_000 });
    const refused = expect(explicit).rejects.toThrow(expect.objectContaining({ code: 'REQUEST_REFUSED' }));
    victim.tell(`connect 2 1 0 ${hole}`);
    while ((await broker.client.status()).pending < 2);
    await broker.client.enterStage(1);
    await refused;
    expect(await victim.line()).toBe('EACCES');
    expect((await broker.client.status()).pending).toBe(0);
  });

  test('goes to the address that was judged, whatever another thread writes meanwhile', async () => {
    let wrong = 0;
    const port = await tcpServer();
    const forbidden = await tcpServer(() => {
      wrong += 1;
    });
    const { victim } = await rig([`connect tcp:127.0.0.1:${port}`]);
    const answer = await victim.ask(
      `race 5000 ${sockaddr(`tcp:127.0.0.1:${port}`)} ${sockaddr(`tcp:127.0.0.1:${forbidden}`)}`,
    );
    const made = Number(answer.split(' ')[1]);
    expect(made).toBeGreaterThan(0);
    expect(made).toBeLessThan(5000);
    expect(wrong).toBe(0);
  });

  test.each([
    ['of no length', 'connect 2 1 0', 'EINVAL'],
    ['to AF_UNSPEC', `connect 2 1 0 ${'00'.repeat(16)}`, 'EINVAL'],
    ['to an unknown family', `connect 2 1 0 2600${'00'.repeat(14)}`, 'EINVAL'],
    [
      'to an address of another family than the socket',
      'connect 10 1 0 02000001 7f000001'.replace('01 7f', '017f') + '00'.repeat(8),
      'EAFNOSUPPORT',
    ],
    ['to a relative path', 'connect 1 1 0 01006100', 'EACCES'],
    ['on a datagram socket', 'connect 2 2 0 020000017f0000010000000000000000', 'EACCES'],
    ['on a multipath socket', 'connect 2 1 262 020000017f0000010000000000000000', 'EACCES'],
    ['with a bad pointer', 'efault', 'EFAULT'],
    ['with a bad fd', 'ebadf', 'EBADF'],
    ['on something that is no socket', 'enotsock', 'ENOTSOCK'],
  ])('%s fails with the right errno', async (_what, command, errno) => {
    const { victim } = await rig(['connect tcp:127.0.0.1:1']);
    expect(await victim.ask(command)).toBe(errno);
  });
});

test('a netlink socket is bound for getaddrinfo', async () => {
  const { victim } = await rig(['bind netlink:route']);
  expect(await victim.ask(`bind ${socketFamily.netlink} 3 0 ${sockaddr('netlink:route')}`)).toBe('ok');
  expect(await victim.ask(`bind ${socketFamily.netlink} 3 15 ${sockaddr('netlink:route')}`)).toBe('EACCES');
});

test('the IPv6 wildcard of a dual-stack socket needs both grants', async () => {
  const six = await rig(['bind tcp:[::]:0']);
  const command = `bind ${socketFamily.inet6} 1 0 ${sockaddr('tcp:[::]:0')}`;
  expect(await six.victim.ask(command)).toBe('EACCES');
  const both = await rig(['bind tcp:[::]:0', 'bind tcp:0.0.0.0:0']);
  expect(await both.victim.ask(command)).toBe('ok');
});

describe('open', () => {
  test('gives the file with the flags that were asked for', async () => {
    using directory = scratch();
    const [image, edge] = [join(directory.path, 'image'), join(directory.path, 'edge')];
    for (const path of [image, edge]) writeFileSync(path, 'data');
    const { broker, victim } = await rig([], [`open ${directory.path}/**`, `13 open ${directory.path}/secret`]);
    await broker.client.enterStage(1);
    expect(await victim.ask(`openat 02000002 0 ${image}`)).toBe('ok cloexec=1 flags=02');
    expect(await victim.ask(`openat 04000 0 ${image}`)).toBe('ok cloexec=0 flags=04000');
    expect(await victim.ask(`open 02001 0 ${image}`)).toBe('ok cloexec=0 flags=02001');
    expect(await victim.ask(`openat 0102 0640 ${directory.path}/new`)).toBe('ok cloexec=0 flags=02');
    expect(await victim.ask(`creat 0 0600 ${directory.path}/created`)).toBe('ok cloexec=0 flags=01');
    expect(await victim.ask(`openat2 0 0 ${image}`)).toBe('ok cloexec=0 flags=00');
    expect(await victim.ask(`edge ${edge}`)).toBe('ok');
    expect(await victim.ask(`openat 010000000 0 ${image}`)).toBe('EINVAL');
    expect(await victim.ask(`openat 020200002 0600 ${directory.path}`)).toBe('EINVAL');
    expect(await victim.ask(`openat 0 0 ${directory.path}/secret`)).toBe('EACCES');
    expect(await victim.ask(`openat 0 0 ${directory.path}/../etc/passwd`)).toBe('EACCES');
    expect(await victim.ask('openat 0 0 relative')).toBe('EACCES');
    expect(await victim.ask('openat 0 0 /proc/self/mem')).toBe('EACCES');
    expect(await victim.ask(`openat 0 0 /${'x'.repeat(4100)}`)).toBe('ENAMETOOLONG');
  });

  test('of a read-only grant neither creates nor truncates', async () => {
    using directory = scratch();
    const image = join(directory.path, 'image');
    writeFileSync(image, 'data');
    const { broker, victim } = await rig([], [`open ${directory.path}/*:ro`]);
    await broker.client.enterStage(1);
    expect(await victim.ask(`openat 01000 0 ${image}`)).toBe('EACCES');
    expect(await victim.ask(`openat 0100 0600 ${directory.path}/new`)).toBe('EACCES');
    expect(await victim.ask(`openat 0 0 ${image}`)).toBe('ok cloexec=0 flags=00');
    expect(readFileSync(image, 'utf8')).toBe('data');
  });
});

describe('a refusal', () => {
  test('is explained: stage, thread, call, arguments, rule and the line that would permit it', async () => {
    const { broker, victim } = await rig(['2 connect unix:/run/x.sock']);
    await victim.ask(`connect 2 1 0 ${sockaddr('tcp:127.0.0.1:4444')}`);
    expect(await broker.event(isRefusal)).toEqual({
      time: expect.stringMatching(/^\d{4}-.*Z$/),
      type: 'refusal',
      door: 'vmm',
      stage: 'start',
      tid: expect.any(Number),
      thread: 'worker',
      syscall: 'connect',
      args: { fd: expect.any(Number), address: 'tcp:127.0.0.1:4444' },
      errno: 'EACCES',
      rule: null,
      fix: 'connect: [{ grant: ["tcp:127.0.0.1:4444"], why: "..." }]',
      allowedIn: null,
      call: { nr: 42, registers: expect.arrayContaining([expect.stringMatching(/^[0-9a-f]{16}$/)]) },
    });
    await victim.ask(`connect 1 1 0 ${sockaddr('unix:/run/x.sock')}`);
    expect(await broker.event(isRefusal)).toMatchObject({
      errno: 'ENOENT',
      rule: { file: 'test.yaml', line: 1, why: 'test rule 0' },
    });
  });

  test('by the policy alone is explained too', async () => {
    const { broker, victim } = await rig([]);
    expect(await victim.ask('ptrace')).toBe('EPERM');
    const refusal = (await broker.event(isRefusal)) as RefusalEvent;
    expect(refusal).toMatchObject({
      syscall: 'ptrace',
      errno: 'EPERM',
      rule: { why: 'a test rule for ptrace' },
      thread: 'worker',
    });
    expect(refusal.args).toMatchObject({ request: 'PTRACE_TRACEME' });
    expect(refusal.fix).toBe(
      'stage start: in place of the rule at test.yaml:7:3: syscalls: [{ allow: [ptrace], why: "..." }]',
    );
  });

  test('in a flood is counted, with neither fds nor events growing', async () => {
    const { broker, victim } = await rig([]);
    await victim.ask(`flood 10 2 ${sockaddr('tcp:127.0.0.1:9')}`);
    await broker.client.status();
    const before = fdCount(broker.pid);
    expect(await victim.ask(`flood 3000 2 ${sockaddr('tcp:127.0.0.1:9')}`)).toBe('EACCES');
    const { denied } = await broker.client.status();
    expect({ denied, fds: fdCount(broker.pid) }).toEqual({ denied: 3010, fds: before });
    const summary = await broker.event(({ type }) => type === 'broker');
    expect(summary).toMatchObject({ what: 'refusals that were counted only', count: expect.any(Number) });
  });
});

describe('a broker killed with -9', () => {
  test('leaves its VM running, every brokered call failing at once', async () => {
    const hole = fullListener('tcp:127.0.0.1:0');
    const holePort = Buffer.from(hole, 'hex').readUInt16BE(2);
    const { broker, victim } = await rig([`connect tcp:127.0.0.1:${holePort}`]);
    victim.tell(`meanwhile connect 2 1 0 ${hole}`);
    const explicit = broker.client.connect(`tcp:127.0.0.1:${holePort}`);
    const rejected = expect(explicit).rejects.toThrow(expect.objectContaining({ code: 'BROKER_DIED' }));
    while ((await broker.client.status()).pending < 2);
    broker.child.kill('SIGKILL');
    await rejected;
    expect(await victim.line()).toBe('ENOSYS');
    expect(await victim.ask(`connect 2 1 0 ${hole}`)).toBe('ENOSYS');
    await expect(broker.client.status()).rejects.toThrow(expect.objectContaining({ code: 'BROKER_DIED' }));
    expect((await broker.client.closed)?.code).toBe('BROKER_DIED');
  });
});
