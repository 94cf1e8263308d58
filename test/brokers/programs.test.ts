// SPDX-License-Identifier: Apache-2.0
// The broker's side of named programs, with a launcher that answers as it likes: late, wrongly, twice, or not at all.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { expect, test, vi } from 'vitest';
import { RunningPrograms } from '../../brokers/running-programs.ts';
import { BrokerClient, type ProgramOrder } from '../../core/broker/client.ts';
import { encodeFrame } from '../../core/broker/frame.ts';
import { deferred } from '../../core/deferred.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import type { BrokerRule, NamedProgram, ResolvedProfile } from '../../core/policy/types.ts';
import { native } from '../../native/index.ts';
import { profileOf } from './policy.ts';
import { fdCount, spawnBroker, startBroker } from './rig.ts';

const source = { file: 'test.yaml', line: 1, column: 1 };
const refused = { code: 'REQUEST_REFUSED' };

function profile(program: Partial<NamedProgram> = {}): ResolvedProfile {
  const named: NamedProgram = {
    ...{ name: 'pack', path: '/bin/cat', args: [], profile: 'named-program', seconds: 60, atOnce: 2, why: 'w', source },
    stdio: 'streams',
    ...program,
  };
  return { ...profileOf({ start: { rules: ['exec pack'] }, running: { rules: [] } }), programs: [named] };
}

/** Some process, for its pidfd. */
function someProcess() {
  const child = spawn('sleep', ['1000'], { stdio: 'ignore' });
  const pidfd = new OwnedFd(native.openPidfd({ pid: child.pid as number, thread: false }));
  const ended = once(child, 'exit');
  return {
    pid: child.pid as number,
    pidfd,
    ended,
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL');
      pidfd.close();
      await ended;
    },
  };
}

/** Orders as they come; their fds are closed when they are looked at. */
function ordersOf(client: BrokerClient): () => Promise<ProgramOrder> {
  const waiting: ProgramOrder[] = [];
  let wake = deferred();
  client.onStart = (order) => {
    waiting.push(order);
    wake.resolve();
  };
  return async () => {
    for (;;) {
      const order = waiting.shift();
      if (order !== undefined) {
        for (const fd of order.fds) fd.close();
        return order;
      }
      wake = deferred();
      await wake.promise;
    }
  };
}

test('a launcher that starts nothing, or cannot, is heard, and nothing stays behind', async () => {
  await using broker = await startBroker(profile());
  const { client } = broker;
  const before = fdCount(broker.pid);
  await expect(client.exec('pack')).rejects.toMatchObject({ code: 'REQUEST_FAILED', errno: 'ENOSYS' });
  const order = ordersOf(client);
  const asked = client.exec('pack');
  asked.catch(() => undefined);
  const { number, program, fds } = await order();
  expect([program, fds.length]).toEqual(['pack', 2]);
  await client.programEnded(number, 'no memory', 12);
  await expect(asked).rejects.toMatchObject({ code: 'REQUEST_FAILED', errno: 'ENOMEM' });
  await expect(client.programEnded(number, 'twice', 12)).rejects.toMatchObject({ errno: 'ENOENT' });
  expect((await client.status()).programs).toEqual([]);
  expect(fdCount(broker.pid)).toBe(before);
});

test('answers that fit no order are refused, and their fds closed', async () => {
  await using broker = await startBroker(profile());
  const { client } = broker;
  const before = fdCount(broker.pid);
  await using process = someProcess();
  await expect(client.programStarted(7, process.pid, process.pidfd)).rejects.toMatchObject({ errno: 'ENOENT' });
  const [one, other] = native.socketPair({ type: 'stream' }).map((fd) => new OwnedFd(fd)) as [OwnedFd, OwnedFd];
  await expect(client.programStarted(7, 1, one)).rejects.toMatchObject({ errno: 'EINVAL' });
  one.close();
  other.close();
  // What was sent along is closed by the time that it answers again.
  await client.status();
  expect(fdCount(broker.pid)).toBe(before);
});

test('a stage that comes between the order and its start withdraws it, and what is started all the same is killed', async () => {
  await using broker = await startBroker(profile());
  const { client } = broker;
  const order = ordersOf(client);
  const asked = client.exec('pack');
  asked.catch(() => undefined);
  const { number } = await order();
  await client.enterStage(1);
  await expect(asked).rejects.toMatchObject(refused);
  await using process = someProcess();
  await client.programStarted(number, process.pid, process.pidfd);
  expect((await process.ended)[1]).toBe('SIGKILL');
  await expect(client.exec('pack')).rejects.toMatchObject({ ...refused, errno: 'EACCES' });
});

test('one that ends before anybody heard that it runs is no program, and one too many is busy until the launcher tells of an end', async () => {
  await using broker = await startBroker(profile({ atOnce: 1, stdio: 'socket' }));
  const { client } = broker;
  const order = ordersOf(client);
  const asked = client.exec('pack');
  const { number, fds } = await order();
  expect(fds).toHaveLength(1);
  await expect(client.exec('pack')).rejects.toMatchObject({ code: 'BROKER_TIMEOUT', errno: 'EBUSY' });
  await using process = someProcess();
  await client.programStarted(number, process.pid, process.pidfd);
  const running = await asked;
  expect(Object.keys(running.streams)).toEqual(['socket']);
  running.pidfd.close();
  running.streams.socket?.close();
  await expect(client.exec('pack')).rejects.toMatchObject({ code: 'BROKER_TIMEOUT' });
  await client.programEnded(number, 'exited with status 0');
  const again = client.exec('pack');
  again.catch(() => undefined);
  await client.programEnded((await order()).number, 'exited with status 1');
  await expect(again).rejects.toMatchObject({ code: 'REQUEST_FAILED', errno: 'ECHILD' });
});

test('a program whose end nobody tells of is seen to end, and its name is free again', async () => {
  await using broker = await startBroker(profile({ atOnce: 1 }));
  const { client } = broker;
  const before = fdCount(broker.pid);
  const order = ordersOf(client);
  const asked = client.exec('pack');
  const { number } = await order();
  const process = someProcess();
  await client.programStarted(number, process.pid, process.pidfd);
  const { pidfd, streams } = await asked;
  for (const fd of [pidfd, streams.stdin, streams.stdout]) fd?.close();
  await process[Symbol.asyncDispose]();
  await vi.waitFor(async () => expect((await client.status()).programs).toEqual([]), {
    timeout: 10_000,
    interval: 100,
  });
  expect(fdCount(broker.pid)).toBe(before);
  await expect(client.programEnded(number, 'too late')).rejects.toMatchObject({ errno: 'ENOENT' });
});

test('one that cannot be handed over for want of descriptors is killed, and who asked is told', async () => {
  await using broker = await startBroker(profile({ atOnce: 1 }));
  const { client } = broker;
  const order = ordersOf(client);
  const asked = client.exec('pack');
  asked.catch(() => undefined);
  const { number } = await order();
  // It has given away the order's streams, and closed its copies of them.
  await client.status();
  // Room for the pidfd that comes, and for no copy of it.
  const used = new Set(readdirSync(`/proc/${broker.pid}/fd`).map(Number));
  const free = Array.from({ length: used.size + 2 }, (_, fd) => fd).filter((fd) => !used.has(fd));
  execFileSync('prlimit', [`--pid=${broker.pid}`, `--nofile=${free[1]}`]);
  await using process = someProcess();
  await client.programStarted(number, process.pid, process.pidfd);
  await expect(asked).rejects.toMatchObject({ code: 'REQUEST_FAILED', errno: 'EMFILE' });
  expect((await process.ended)[1]).toBe('SIGKILL');
  await client.programEnded(number, 'killed by SIGKILL');
  expect((await client.status()).programs).toEqual([]);
});

test('the time that its profile gives it is counted by the broker, which kills it', async () => {
  await using broker = await startBroker(profile({ seconds: 1 }));
  const { client } = broker;
  const order = ordersOf(client);
  const asked = client.exec('pack');
  const { number } = await order();
  await using process = someProcess();
  await client.programStarted(number, process.pid, process.pidfd);
  const { pidfd, streams } = await asked;
  for (const fd of [pidfd, streams.stdin, streams.stdout]) fd?.close();
  expect((await process.ended)[1]).toBe('SIGKILL');
});

test('a launcher that answers too late has what it started killed, and it counts until it is gone', async () => {
  await using process = someProcess();
  const [named] = profile().programs ?? [];
  if (named === undefined) throw new Error('no program');
  const answers: string[] = [];
  const running = new RunningPrograms(() => undefined);
  const rule = profile().stages[0]?.broker[0] as BrokerRule;
  vi.useFakeTimers();
  try {
    running.start(
      { ...named, atOnce: 1 },
      { granted: true, rule, lasts: () => true, holds: () => true },
      [],
      ({ kind }) => answers.push(kind),
    );
    vi.advanceTimersByTime(9999);
    expect(answers).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(answers).toEqual(['timeout']);
  } finally {
    vi.useRealTimers();
  }
  expect(running.full({ ...named, atOnce: 1 })).toBe(true);
  const copy = new OwnedFd(native.openPidfd({ pid: process.pid, thread: false }));
  expect(running.started(1, process.pid, copy)).toBe(true);
  expect((await process.ended)[1]).toBe('SIGKILL');
  expect(running.ended(1, undefined)).toMatchObject({ killed: 'the launcher took too long to start it' });
  expect(running.full({ ...named, atOnce: 1 })).toBe(false);
  expect(answers).toEqual(['timeout']);
});

test('an agent may ask for one, and not answer for the launcher', async () => {
  await using broker = await startBroker(profile());
  const order = ordersOf(broker.client);
  const agent = new BrokerClient((await broker.client.addAgent('one')).release());
  const asked = agent.exec('pack');
  const { number } = await order();
  await using process = someProcess();
  await broker.client.programStarted(number, process.pid, process.pidfd);
  const { pid, pidfd, streams } = await asked;
  expect(pid).toBe(process.pid);
  for (const fd of [pidfd, streams.stdin, streams.stdout]) fd?.close();
  await expect(agent.programEnded(number, 'forged')).rejects.toMatchObject({ code: 'BROKER_DIED' });
  expect((await broker.client.status()).programs).toMatchObject([{ number }]);
});

test.each([
  ['arguments', { args: ['--rsyncable'] }],
  ['an environment', { env: { LD_PRELOAD: '/tmp/x.so' } }],
  ['a path for a name', { program: '/bin/sh' }],
  ['a name with an option', { program: 'pack -d' }],
  ['a list of streams', { input: ['/etc/hostname'] }],
])('a request with %s ends the channel', async (_, more) => {
  const broker = spawnBroker(profile());
  const client = new BrokerClient(broker.channelFd);
  await client.ready();
  const frame = encodeFrame({ type: 'exec', id: 1n, program: 'pack', ...more });
  native.sendMessage({ fd: broker.channelFd, data: frame, fds: [] });
  expect(await client.closed).toMatchObject({ code: 'BROKER_DIED' });
  expect((await broker.exited).code).toBe(3);
});

test('a name that holds a NUL or is too long never reaches the rules', async () => {
  await using broker = await startBroker(profile());
  await expect(broker.client.exec('pack\0')).rejects.toMatchObject({ code: 'BROKER_DIED' });
  expect((await broker.exited).code).toBe(3);
});
