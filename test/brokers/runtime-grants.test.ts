// SPDX-License-Identifier: Apache-2.0
// Grants while the VM runs: counted, timed, revoked, by stage, at both doors.
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import type { GrantRequest } from '../../core/broker/client.ts';
import { protocolLimits } from '../../core/broker/protocol.ts';
import { addressToSockaddr, parseAddress } from '../../core/policy/address/index.ts';
import type { ResolvedProfile } from '../../core/policy/types.ts';
import { brokerRules, profileOf } from './policy.ts';
import { fdCount, hex, type ServedBroker, scratch, startBroker, startVictim, type Victim } from './rig.ts';

const brokered = { kind: 'broker' } as const;
const actions = { connect: brokered, bind: brokered };
const cleanUp: (() => unknown)[] = [];

afterEach(async () => {
  for (const step of cleanUp.splice(0).reverse()) await step();
});

/** Each stage by what may be granted in it. */
function profile(stages: Readonly<Record<string, readonly string[]>>, rules: readonly string[] = []): ResolvedProfile {
  const plain = profileOf(Object.fromEntries(Object.keys(stages).map((name) => [name, { rules, actions }])));
  return {
    ...plain,
    stages: plain.stages.map((stage) => ({
      ...stage,
      broker: [...stage.broker, ...brokerRules(stages[stage.name] ?? []).map((rule) => ({ ...rule, mayGrant: true }))],
    })),
  };
}

async function broker(resolved: ResolvedProfile): Promise<ServedBroker> {
  const started = await startBroker(resolved);
  cleanUp.push(() => started[Symbol.asyncDispose]());
  return started;
}

async function victimOf({ client }: ServedBroker): Promise<Victim> {
  const victim = await startVictim(client);
  cleanUp.push(() => victim.end());
  return victim;
}

async function tcpServer(): Promise<number> {
  const server: Server = createServer((socket) => socket.on('error', () => undefined).destroy());
  cleanUp.push(() => new Promise((resolve) => server.close(resolve)));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

async function connect({ client }: ServedBroker, address: string): Promise<string> {
  return await client.connect(address).then(
    (fd) => {
      fd.close();
      return 'ok';
    },
    (error) => `${error.code} ${error.errno ?? ''}`.trim(),
  );
}

const terms = (target: string, more: Partial<GrantRequest> = {}): GrantRequest => ({
  request: 'connect',
  target,
  throughEpoch: 0,
  ...more,
});
const anyTcp = { start: ['connect tcp:127.0.0.0/8:1-65535'] };
const outcome = (wanted: string) => (event: { readonly type: string }) =>
  event.type === 'grant' && (event as { readonly outcome?: string }).outcome === wanted;

test('what may be granted is not granted, and is after a grant, until it is revoked', async () => {
  const port = await tcpServer();
  const served = await broker(profile(anyTcp));
  const victim = await victimOf(served);
  const address = `tcp:127.0.0.1:${port}`;
  const transparent = () => victim.ask(`connect 2 1 0 ${hex(addressToSockaddr(parseAddress(address)))}`);
  expect([await connect(served, address), await transparent()]).toEqual(['REQUEST_REFUSED EACCES', 'EACCES']);
  const grant = await served.client.grant(terms(address));
  expect([await connect(served, address), await transparent()]).toEqual(['ok', 'ok']);
  expect(await connect(served, `tcp:127.0.0.2:${port}`)).toBe('REQUEST_REFUSED EACCES');
  expect(await served.client.revoke(grant)).toBe(true);
  expect([await connect(served, address), await transparent()]).toEqual(['REQUEST_REFUSED EACCES', 'EACCES']);
  expect(await served.client.revoke(grant)).toBe(false);
  expect(await served.event(outcome('added'))).toMatchObject({ target: address, rule: { file: 'grant', line: grant } });
  expect(await served.event(outcome('revoked'))).toMatchObject({ target: address });
});

test('status shows a grant with what is left of it, and what may be granted', async () => {
  const served = await broker(profile(anyTcp, ['connect tcp:127.0.0.1:9']));
  const grant = await served.client.grant(
    terms('tcp:127.0.0.1:1', { uses: 2, forMs: 60_000, until: 'the migration has ended' }),
  );
  expect(await connect(served, 'tcp:127.0.0.1:1')).toBe('REQUEST_FAILED ECONNREFUSED');
  const { grants, mayGrant } = await served.client.status();
  expect(grants).toEqual([
    {
      request: 'connect',
      target: 'tcp:127.0.0.1:1',
      why: 'granted while the VM runs, until the migration has ended',
      file: 'grant',
      line: grant,
      grant,
      usesLeft: 1,
      leftMs: expect.any(Number),
      throughStage: 'start',
      until: 'the migration has ended',
    },
    expect.objectContaining({ target: 'tcp:127.0.0.1:9', file: 'test.yaml' }),
  ]);
  expect(grants[0]?.leftMs).toBeLessThanOrEqual(60_000);
  expect(mayGrant).toEqual([{ request: 'connect', target: 'tcp:127.0.0.0/8:1-65535' }]);
});

describe('a once-only grant', () => {
  test('gives exactly one connection to many that ask at once, at both doors', async () => {
    const port = await tcpServer();
    const served = await broker(profile(anyTcp));
    const victim = await victimOf(served);
    const address = `tcp:127.0.0.1:${port}`;
    await served.client.grant(terms(address, { uses: 1 }));
    victim.tell(`connect 2 1 0 ${hex(addressToSockaddr(parseAddress(address)))}`);
    const explicit = await Promise.all(Array.from({ length: 20 }, () => connect(served, address)));
    const all = [...explicit, await victim.line()];
    expect(all.filter((answer) => answer === 'ok')).toHaveLength(1);
    expect(all.filter((answer) => answer.endsWith('EACCES'))).toHaveLength(20);
    await served.event(outcome('used up'));
  });

  test('is used up by an attempt that fails', async () => {
    const served = await broker(profile(anyTcp));
    await served.client.grant(terms('tcp:127.0.0.1:1', { uses: 1 }));
    expect(await connect(served, 'tcp:127.0.0.1:1')).toBe('REQUEST_FAILED ECONNREFUSED');
    expect(await connect(served, 'tcp:127.0.0.1:1')).toBe('REQUEST_REFUSED EACCES');
  });

  test('lets the connection that it began come about', async () => {
    using directory = scratch();
    const path = join(directory.path, 'peer.sock');
    const server = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => server.listen(path, resolve));
    cleanUp.push(() => new Promise((resolve) => server.close(resolve)));
    const served = await broker(profile({ start: [`connect unix:${directory.path}/*`] }));
    await served.client.grant(terms(`unix:${path}`, { uses: 1 }));
    expect(await connect(served, `unix:${path}`)).toBe('ok');
  });
});

describe('a connection under way', () => {
  // A listener without room: the connect waits.
  async function full(directory: string): Promise<string> {
    const { native } = await import('../../native/index.ts');
    const { OwnedFd } = await import('../../core/owned-fd.ts');
    const path = join(directory, 'full.sock');
    const address = addressToSockaddr(parseAddress(`unix:${path}`));
    const listener = new OwnedFd(native.createSocket({ domain: 1, type: 1, protocol: 0 }));
    cleanUp.push(() => listener.close());
    native.bindSocket({ fd: listener.fd, address });
    native.listenSocket({ fd: listener.fd, backlog: 0 });
    const filler = new OwnedFd(native.createSocket({ domain: 1, type: 1, protocol: 0 }));
    cleanUp.push(() => filler.close());
    native.connectSocket({ fd: filler.fd, address });
    return `unix:${path}`;
  }

  test.each([
    ['revoked', {}],
    ['expired', { forMs: 100 }],
  ] as const)('is taken back when what permitted it is %s, also its last use', async (end, more) => {
    using directory = scratch();
    const address = await full(directory.path);
    const served = await broker(profile({ start: [`connect unix:${directory.path}/*`] }));
    const victim = await victimOf(served);
    const before = fdCount(served.pid);
    const grant = await served.client.grant(terms(address, { uses: 2, ...more }));
    victim.tell(`connect 1 1 0 ${hex(addressToSockaddr(parseAddress(address)))}`);
    const explicit = connect(served, address);
    if (end === 'revoked') {
      while ((await served.client.status()).pending < 2);
      expect(await served.client.revoke(grant)).toBe(true);
    }
    expect(await explicit).toBe('REQUEST_REFUSED');
    expect(await victim.line()).toBe('EACCES');
    expect((await served.client.status()).pending).toBe(0);
    expect(fdCount(served.pid)).toBe(before);
  });
});

describe('a grant is refused', () => {
  test('beyond what may be granted, and the refusal says what the profile would need', async () => {
    const served = await broker(profile(anyTcp));
    await expect(served.client.grant(terms('tcp:192.0.2.1:1'))).rejects.toMatchObject({
      code: 'REQUEST_REFUSED',
      errno: 'EACCES',
      message: expect.stringContaining('connect: [{ may-grant: ["tcp:192.0.2.1:1"], why: "..." }]'),
    });
    // Wider than the ceiling, and another kind of request.
    await expect(served.client.grant(terms('tcp:127.0.0.0/7:1'))).rejects.toThrow();
    await expect(served.client.grant(terms('tcp:127.0.0.1:0-1'))).rejects.toMatchObject({ code: 'REQUEST_REFUSED' });
    await expect(served.client.grant({ ...terms('tcp:127.0.0.1:1'), request: 'bind' })).rejects.toMatchObject({
      code: 'REQUEST_REFUSED',
    });
    expect(await served.event(({ type }) => type === 'refusal')).toMatchObject({
      door: 'launcher',
      syscall: 'grant',
      errno: 'EACCES',
      args: { target: 'tcp:192.0.2.1:1' },
    });
  });

  test('when it would widen a later stage', async () => {
    const served = await broker(profile({ start: anyTcp.start, running: ['connect tcp:127.0.0.1:1-99'], sealed: [] }));
    await expect(served.client.grant(terms('tcp:127.0.0.1:100', { throughEpoch: 1 }))).rejects.toMatchObject({
      code: 'REQUEST_REFUSED',
      message: expect.stringContaining('stage running lets nobody grant it'),
    });
    await expect(served.client.grant(terms('tcp:127.0.0.1:9', { throughEpoch: 2 }))).rejects.toMatchObject({
      message: expect.stringContaining('stage sealed'),
    });
    await served.client.grant(terms('tcp:127.0.0.1:9', { throughEpoch: 1 }));
  });

  test('for what the stage refuses by name, for a stage that is past, and for a target that is none', async () => {
    const served = await broker(
      profile({ start: anyTcp.start, running: anyTcp.start }, ['111 connect tcp:127.0.0.9:1']),
    );
    await expect(served.client.grant(terms('tcp:127.0.0.9:1'))).rejects.toMatchObject({ code: 'REQUEST_REFUSED' });
    // Only a part of it: granted, and the refusing rule wins.
    await served.client.grant(terms('tcp:127.0.0.9:1-2'));
    expect(await connect(served, 'tcp:127.0.0.9:1')).toBe('REQUEST_REFUSED ECONNREFUSED');
    await served.client.enterStage(1);
    await expect(served.client.grant(terms('tcp:127.0.0.1:1'))).rejects.toMatchObject({ code: 'REQUEST_REFUSED' });
    await expect(served.client.grant(terms('nonsense', { throughEpoch: 1 }))).rejects.toMatchObject({
      code: 'REQUEST_FAILED',
      errno: 'EINVAL',
    });
  });

  test('when there are too many, and used up ones make room', async () => {
    const served = await broker(profile(anyTcp));
    for (let port = 1; port <= 256; port += 1) await served.client.grant(terms(`tcp:127.0.0.1:${port}`, { uses: 1 }));
    await expect(served.client.grant(terms('tcp:127.0.0.1:300'))).rejects.toMatchObject({ errno: 'EBUSY' });
    await connect(served, 'tcp:127.0.0.1:1');
    await served.client.grant(terms('tcp:127.0.0.1:300'));
    // And its status still fits a message.
    expect(encodedLength(await served.client.status())).toBeLessThan(protocolLimits.maxReplyBytes);
  });
});

test('a grant ends with its last stage', async () => {
  const served = await broker(profile({ start: anyTcp.start, running: anyTcp.start, sealed: [] }));
  await served.client.grant(terms('tcp:127.0.0.1:1'));
  await served.client.grant(terms('tcp:127.0.0.1:2', { throughEpoch: 1 }));
  await served.client.enterStage(1);
  expect(await connect(served, 'tcp:127.0.0.1:1')).toBe('REQUEST_REFUSED EACCES');
  expect(await connect(served, 'tcp:127.0.0.1:2')).toBe('REQUEST_FAILED ECONNREFUSED');
  expect(await served.event(outcome('ended with its stage'))).toMatchObject({ target: 'tcp:127.0.0.1:1' });
  await served.client.enterStage(2);
  expect(await connect(served, 'tcp:127.0.0.1:2')).toBe('REQUEST_REFUSED EACCES');
});

function encodedLength(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value));
}
