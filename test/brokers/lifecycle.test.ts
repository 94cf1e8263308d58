// SPDX-License-Identifier: Apache-2.0
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { OwnedFd } from '../../core/owned-fd.ts';
import { native } from '../../native/index.ts';
import { profileOf } from './policy.ts';
import { fdCount, scratch, startBroker } from './rig.ts';

test('the hello names the profile, the stage and the limits', async () => {
  await using broker = await startBroker(profileOf({ start: { rules: [] } }));
  expect(await broker.client.ready()).toMatchObject({
    magic: 'ratchet-broker',
    version: 1,
    pid: broker.pid,
    profile: 'test',
    stage: 'start',
    limits: { maxRequestBytes: 4096 },
    requests: [
      ...[
        'connect',
        'bind',
        'open',
        'tap',
        'device',
        'memory',
        'terminal',
        'pair',
        'exec',
        'started',
        'ended',
        'release',
      ],
      ...[
        'stage',
        'settle',
        'threads',
        'grant',
        'revoke',
        'agent',
        'agents',
        'log',
        'attachListener',
        'status',
        'shutdown',
      ],
    ],
  });
});

test.each(['close', 'shutdown'] as const)(
  '%s ends it, and removes the sockets it made and the files it owns',
  async (how) => {
    using directory = scratch();
    const [bound, owned, kept] = ['bound.sock', 'owned', 'kept.sock'].map((name) => join(directory.path, name)) as [
      string,
      string,
      string,
    ];
    writeFileSync(owned, '');
    const broker = await startBroker(profileOf({ start: { rules: [`bind unix:${directory.path}/*`] } }), [
      '--owns',
      owned,
    ]);
    (await broker.client.bind(`unix:${bound}`, { backlog: 1 })).close();
    (await broker.client.bind(`unix:${kept}`)).close();
    // Another file under that name is not the broker's to remove.
    native.closeFd({ fd: native.openFile({ directoryFd: -100, path: directory.path, flags: 0, mode: 0, resolve: 0 }) });
    const { renameSync } = await import('node:fs');
    writeFileSync(`${kept}.new`, 'mine');
    renameSync(`${kept}.new`, kept);
    if (how === 'close') broker.client.close();
    else await broker.client.shutdown();
    expect(await broker.exited).toEqual({ code: 0, signal: null });
    expect([existsSync(bound), existsSync(owned), readFileSync(kept, 'utf8')]).toEqual([false, false, 'mine']);
  },
);

test('stages only go forward, and each has its own grants', async () => {
  await using broker = await startBroker(
    profileOf({
      start: { rules: ['bind tcp:127.0.0.1:0'] },
      running: { rules: ['open /dev/null'] },
      sealed: { rules: [] },
    }),
  );
  const { client } = broker;
  (await client.bind('tcp:127.0.0.1:0')).close();
  expect((await client.status()).grants).toMatchObject([{ request: 'bind', target: 'tcp:127.0.0.1:0', line: 1 }]);
  await client.enterStage(1);
  expect((await client.status()).stage).toBe('running');
  await expect(client.bind('tcp:127.0.0.1:0')).rejects.toThrow(
    expect.objectContaining({
      code: 'REQUEST_REFUSED',
      errno: 'EACCES',
      message: expect.stringContaining('grant: ["tcp:127.0.0.1:0"]'),
    }),
  );
  (await client.open('/dev/null', 'rw')).close();
  for (const epoch of [0, 1, 3])
    await expect(client.enterStage(epoch)).rejects.toThrow(expect.objectContaining({ code: 'REQUEST_REFUSED' }));
  await client.enterStage(2);
  await expect(client.open('/dev/null')).rejects.toThrow(expect.objectContaining({ code: 'REQUEST_REFUSED' }));
  expect(await client.status()).toMatchObject({
    stage: 'sealed',
    epoch: 2,
    allowed: 2,
    denied: 2,
    grants: [],
    pid: broker.pid,
  });
});

test('what is handed out blocks, closes on exec, and is nowhere else', async () => {
  await using broker = await startBroker(
    profileOf({ start: { rules: ['bind tcp:127.0.0.1:0', 'connect tcp:127.0.0.1:1-65535'] } }),
  );
  await broker.client.status();
  const before = fdCount(broker.pid);
  using listener = await broker.client.bind('tcp:127.0.0.1:0', { backlog: 1 });
  const port = native.getSocketName({ fd: listener.fd }).readUInt16BE(2);
  using connected = await broker.client.connect(`tcp:127.0.0.1:${port}`);
  const nonBlockingFlag = 0o4000;
  for (const { fd } of [listener, connected]) {
    expect(native.getStatusFlags({ fd }) & nonBlockingFlag).toBe(0);
    const flags = /flags:\s*(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '';
    expect(Number.parseInt(flags, 8) & 0o2000000).not.toBe(0);
  }
  await broker.client.status();
  expect(fdCount(broker.pid)).toBe(before);
});

test('an error of the kernel names the subject and the errno, apart from refusals and misuse', async () => {
  await using broker = await startBroker(
    profileOf({ start: { rules: ['connect tcp:127.0.0.1:1', 'open /nonexistent', 'tap rt*'] } }),
  );
  const { client } = broker;
  await expect(client.connect('tcp:127.0.0.1:1')).rejects.toThrow(
    expect.objectContaining({
      code: 'REQUEST_FAILED',
      errno: 'ECONNREFUSED',
      message: expect.stringContaining('connect tcp:127.0.0.1:1'),
    }),
  );
  await expect(client.open('/nonexistent')).rejects.toThrow(
    expect.objectContaining({ code: 'REQUEST_FAILED', errno: 'ENOENT' }),
  );
  await expect(client.connect('tcp:local:1')).rejects.toThrow(expect.objectContaining({ code: 'ADDRESS_INVALID' }));
  await expect(client.tap('a/b')).rejects.toThrow(expect.objectContaining({ code: 'ADDRESS_INVALID' }));
});

test('a connect that does not come about in time is a timeout', async () => {
  await using broker = await startBroker(
    profileOf({ start: { rules: ['bind tcp:127.0.0.1:0', 'connect tcp:127.0.0.1:1-65535'] } }),
  );
  using listener = await broker.client.bind('tcp:127.0.0.1:0');
  native.listenSocket({ fd: listener.fd, backlog: 0 });
  const address = `tcp:127.0.0.1:${native.getSocketName({ fd: listener.fd }).readUInt16BE(2)}`;
  using _filler = await broker.client.connect(address);
  await expect(broker.client.connect(address, { timeoutMs: 50 })).rejects.toThrow(
    expect.objectContaining({ code: 'BROKER_TIMEOUT', errno: 'ETIMEDOUT' }),
  );
  expect((await broker.client.status()).pending).toBe(0);
});

test('more requests than may be outstanding are answered busy', async () => {
  await using broker = await startBroker(
    profileOf({ start: { rules: ['bind tcp:127.0.0.1:0', 'connect tcp:127.0.0.1:1-65535'] } }),
  );
  using listener = await broker.client.bind('tcp:127.0.0.1:0');
  native.listenSocket({ fd: listener.fd, backlog: 0 });
  const address = `tcp:127.0.0.1:${native.getSocketName({ fd: listener.fd }).readUInt16BE(2)}`;
  using _filler = await broker.client.connect(address);
  const asked = Promise.allSettled(
    Array.from({ length: 70 }, () => broker.client.connect(address, { timeoutMs: 2000 })),
  );
  // What is not judged does not count, or a word about a program could be lost.
  await expect(broker.client.status()).resolves.toMatchObject({ pending: 64 });
  await expect(broker.client.programEnded(1, 'exited')).rejects.toMatchObject({ errno: 'ENOENT' });
  const answers = await asked;
  const errnos = answers.map((answer) =>
    answer.status === 'rejected' ? (answer.reason as { errno?: string }).errno : 'ok',
  );
  expect(errnos.filter((errno) => errno === 'EBUSY').length).toBe(6);
  expect(errnos.filter((errno) => errno === 'ETIMEDOUT').length).toBe(64);
});

test('only a seccomp listener is taken as one', async () => {
  await using broker = await startBroker(profileOf({ start: { rules: [] } }));
  const notOne = new OwnedFd(native.memfd({ name: 'x', data: Buffer.from('x'), seal: false }));
  await expect(broker.client.attachListener(notOne)).rejects.toThrow(
    expect.objectContaining({ code: 'REQUEST_FAILED', errno: 'EINVAL' }),
  );
});

test('every decision is one line of JSON in the log', async () => {
  const broker = await startBroker(profileOf({ start: { rules: ['open /dev/null'] } }));
  (await broker.client.open('/dev/null')).close();
  await broker.client.open('/dev/zero').catch(() => undefined);
  broker.client.close();
  const lines = (await broker.log)
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(lines).toMatchObject([
    {
      verdict: 'granted',
      door: 'launcher',
      stage: 'start',
      request: 'open',
      target: '/dev/null:ro',
      outcome: 'ok',
      rule: 'test.yaml:1',
      us: expect.any(Number),
    },
    { verdict: 'refused', syscall: 'open', args: { path: '/dev/zero', access: 'ro' }, errno: 'EACCES', rule: null },
  ]);
});
