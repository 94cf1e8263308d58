// SPDX-License-Identifier: Apache-2.0
// The launcher's side of named programs, under a broker that was taken over: it orders what it likes, and answers nothing.
import { existsSync } from 'node:fs';
import { expect, test } from 'vitest';
import { BrokerClient } from '../../core/broker/client.ts';
import { decodeRequest, encodeServerMessage, protocolLimits, type ServerMessage } from '../../core/broker/protocol.ts';
import { deferred } from '../../core/deferred.ts';
import { EventStream } from '../../core/launch/events.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import type { NamedProgram, ResolvedProfile } from '../../core/policy/types.ts';
import { preparePrograms } from '../../core/programs/prepare.ts';
import { ProgramRunner } from '../../core/programs/runner.ts';
import { native } from '../../native/index.ts';
import { profileOf } from '../brokers/policy.ts';

const source = { file: 'test.yaml', line: 1, column: 1 };

function profile(program: Partial<NamedProgram>): ResolvedProfile {
  const named: NamedProgram = {
    ...{ name: 'cat', path: '/bin/cat', args: [], profile: 'named-program', seconds: 60, atOnce: 1, why: 'w', source },
    stdio: 'socket',
    ...program,
  };
  return { ...profileOf({ start: { rules: ['exec cat'] }, running: { rules: [] } }), programs: [named] };
}

function rig(program: Partial<NamedProgram> = {}) {
  const events = new EventStream();
  const runner = new ProgramRunner({ prepared: preparePrograms(profile(program)), events, deadlineMs: 10_000 });
  const [ours, theirs] = native.socketPair({ type: 'seqpacket' });
  const client = new BrokerClient(ours);
  const broker = new OwnedFd(theirs);
  runner.serve(client);
  const taken = deferred();
  const { onStart } = client;
  client.onStart = (order) => {
    onStart?.(order);
    taken.resolve();
  };
  const say = (message: ServerMessage, fds: readonly number[] = []): void => {
    native.sendMessage({ fd: broker.fd, data: encodeServerMessage(message), fds });
  };
  say({
    type: 'hello',
    magic: 'ratchet-broker',
    version: 1,
    pid: process.pid,
    profile: 'p',
    stage: 'start',
    limits: protocolLimits,
    requests: [],
  } as ServerMessage);
  const held: OwnedFd[] = [];
  const told = events[Symbol.asyncIterator]();
  return {
    runner,
    /** The first order has come. */
    taken: taken.promise,
    /** Its end of the streams stays open: the program has no reason to end. */
    order: (number: number, streams = 1): void => {
      const pairs = Array.from({ length: streams }, () => native.socketPair({ type: 'stream' }));
      for (const [, mine] of pairs) held.push(new OwnedFd(mine));
      say(
        { type: 'start', number, program: 'cat' },
        pairs.map(([fd]) => fd),
      );
      for (const [fd] of pairs) native.closeFd({ fd });
    },
    /** The next event about a program, with those named. */
    next: async (): Promise<Record<string, unknown>> => {
      for (;;) {
        const { value, done } = await told.next();
        if (done === true) throw new Error('no more events');
        if (value.type === 'program') return value;
      }
    },
    /** Refuses whatever is asked. */
    refuseAll: (): Promise<void> =>
      new Promise((resolve) => {
        const watch = native.watchFd({ fd: broker.fd, readable: true, writable: false }, () => {
          const received = native.receiveMessage({ fd: broker.fd, maxBytes: 65_536, maxFds: 4 });
          if (received.kind !== 'message') throw new Error('no request');
          const { data, fds } = received;
          for (const fd of fds) native.closeFd({ fd });
          say({ type: 'result', id: decodeRequest(data).id, class: 'busy', what: 'no' } as ServerMessage);
          watch.close();
          resolve();
        });
      }),
    [Symbol.asyncDispose]: async () => {
      await runner.close();
      client.close();
      broker.close();
      for (const fd of held) fd.close();
      events.close();
    },
  };
}

test('orders that come together are counted one by one, and one that overstays is killed, whatever the broker does', async () => {
  await using vm = rig({ seconds: 1 });
  for (let number = 1; number <= 5; number += 1) vm.order(number);
  const first = [await vm.next(), await vm.next(), await vm.next(), await vm.next()];
  expect(first).toEqual(Array(4).fill(expect.objectContaining({ what: 'not started', errno: 'EBUSY' })));
  expect(await vm.next()).toMatchObject({ what: 'started', number: 1 });
  expect(await vm.next()).toMatchObject({ what: 'ended', number: 1, signal: 'SIGKILL' });
});

test('a program is not started with other streams than its own', async () => {
  await using vm = rig();
  vm.order(1, 2);
  expect(await vm.next()).toMatchObject({ what: 'not started', errno: 'EPROTO' });
});

test('a stage that does not name it has ended it when it is entered, and it is not started again', async () => {
  await using vm = rig();
  vm.order(1);
  const { pid } = await vm.next();
  expect(existsSync(`/proc/${pid}`)).toBe(true);
  await vm.runner.enter(1);
  expect(existsSync(`/proc/${pid}`)).toBe(false);
  expect(await vm.next()).toMatchObject({ what: 'ended', signal: 'SIGKILL' });
  vm.order(2);
  expect(await vm.next()).toMatchObject({ what: 'not started', errno: 'EACCES' });
});

test('one that is on its way when the stage is entered does not outlive it', async () => {
  await using vm = rig();
  vm.order(1);
  await vm.taken;
  await vm.runner.enter(1);
  const { what, pid } = await vm.next();
  expect(what).toBe('started');
  expect(existsSync(`/proc/${pid}`)).toBe(false);
  expect(await vm.next()).toMatchObject({ what: 'ended', signal: 'SIGKILL' });
});

test('one whose start the broker does not take is killed', async () => {
  await using vm = rig();
  const refused = vm.refuseAll();
  vm.order(1);
  expect(await vm.next()).toMatchObject({ what: 'started' });
  await refused;
  expect(await vm.next()).toMatchObject({ what: 'ended', signal: 'SIGKILL' });
});

test('a broker that orders on and answers nothing does not keep the VM from its end', async () => {
  await using vm = rig();
  vm.order(1);
  const { pid } = await vm.next();
  const closed = vm.runner.close();
  for (let number = 2; number < 10; number += 1) vm.order(number);
  await closed;
  expect(existsSync(`/proc/${pid}`)).toBe(false);
  expect(await vm.next()).toMatchObject({ what: 'ended', number: 1, signal: 'SIGKILL' });
});
