// SPDX-License-Identifier: Apache-2.0
// Clients beside the launcher: judged alike, apart from each other, and without the launcher's own requests.
import { spawn } from 'node:child_process';
import { fstatSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import { BrokerClient } from '../../core/broker/client.ts';
import { encodeRequest, type Request } from '../../core/broker/protocol.ts';
import { bindAgentDoor } from '../../core/launch/agent-door.ts';
import { native } from '../../native/index.ts';
import { readable } from '../native/fds.ts';
import { profileOf } from './policy.ts';
import { fdCount, scratch, startBroker } from './rig.ts';

const python = `
import os, socket, sys, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect(sys.argv[1])
greeted = len(s.recv(65536)) > 0
print('hello' if greeted else 'turned away', flush=True)
if greeted and os.fork() > 0: sys.stdin.readline(); os._exit(0)
if greeted: s.recv(65536); print('ended', flush=True)
`;

describe('an agent', () => {
  test('has request numbers of its own, and gets its own answers', async () => {
    using folder = scratch();
    await using broker = await startBroker(
      profileOf({ start: { rules: [`open ${folder.path}/*`, 'open /etc/hostname:ro'] } }),
    );
    const agents = await Promise.all(
      ['one', 'two'].map(async (name) => new BrokerClient((await broker.client.addAgent(name)).release())),
    );
    const [one, two] = agents as [BrokerClient, BrokerClient];
    expect((await one.ready()).requests).not.toContain('stage');
    // The same numbers at the same time.
    const opened = await Promise.all(
      Array.from({ length: 40 }, (_, turn) =>
        turn % 2 === 0 ? one.open('/etc/hostname') : two.open(`${folder.path}/${turn}`, 'rw', { create: true }),
      ),
    );
    opened.forEach((file, turn) => {
      const expected = turn % 2 === 0 ? readFileSync('/etc/hostname', 'utf8').length : 0;
      expect(fstatSync(file.fd).size).toBe(expected);
      file.close();
    });
    await expect(one.open('/etc/shadow')).rejects.toMatchObject({ code: 'REQUEST_REFUSED' });
    const refusal = await broker.event(({ type }) => type === 'refusal');
    expect(refusal).toMatchObject({ door: 'agent', thread: 'one', args: { path: '/etc/shadow' } });
    for (const agent of agents) agent.close();
  });

  const launchersAlone: readonly Request[] = [
    { type: 'stage', id: 1n, epoch: 1 },
    { type: 'grant', id: 1n, request: 'open', target: '/etc/*', throughEpoch: 0 },
    { type: 'revoke', id: 1n, grant: 1 },
    { type: 'release', id: 1n, address: 'unix:/tmp/x' },
    { type: 'shutdown', id: 1n },
    { type: 'attachListener', id: 1n },
  ];
  test.each(launchersAlone)('that sends $type loses its channel, and nothing has happened', async (request) => {
    await using broker = await startBroker(profileOf({ start: { rules: [] }, running: { rules: [] } }));
    const { client } = broker;
    await client.status();
    const before = fdCount(broker.pid);
    const other = new BrokerClient((await client.addAgent('other')).release());
    using channel = await client.addAgent('hostile');
    native.sendMessage({ fd: channel.fd, data: encodeRequest(request), fds: [] });
    await untilEnd(channel.fd);
    await expect(other.status()).resolves.toMatchObject({ stage: 'start', grants: [] });
    other.close();
    await other.closed;
    await expect.poll(() => fdCount(broker.pid)).toBe(before);
  });

  test('cannot send the broker an fd, whose close might hang', async () => {
    await using broker = await startBroker(profileOf({ start: { rules: [] } }));
    using channel = await broker.client.addAgent('hostile');
    const data = encodeRequest({ type: 'agent', id: 1n, name: 'mine' });
    expect(() => native.sendMessage({ fd: channel.fd, data, fds: [channel.fd] })).toThrow(
      expect.objectContaining({ code: 'EPERM' }),
    );
  });

  test('is one of 16 at most, and one that leaves makes room', async () => {
    await using broker = await startBroker(profileOf({ start: { rules: [] } }));
    const { client } = broker;
    const all = await Promise.all(Array.from({ length: 16 }, () => client.addAgent('one')));
    await expect(client.addAgent('one-too-many')).rejects.toMatchObject({ errno: 'EBUSY' });
    all.pop()?.close();
    await expect
      .poll(() =>
        client
          .addAgent('next')
          .then((fd) => all.push(fd))
          .catch(() => 0),
      )
      .toBeGreaterThan(0);
    for (const agent of all) agent.close();
  });
});

describe('a process that comes by itself', () => {
  test('is taken when its user may, and its channel ends with it whoever inherited the socket', async () => {
    using folder = scratch();
    const path = `${folder.path}/agents`;
    await using broker = await startBroker(profileOf({ start: { rules: [] } }));
    using door = bindAgentDoor(path);
    await broker.client.acceptAgents(door, 'agent', [0]);
    const before = fdCount(broker.pid);
    const process = spawn('python3', ['-c', python, path], { stdio: ['pipe', 'pipe', 'inherit'] });
    const lines = createInterface({ input: process.stdout })[Symbol.asyncIterator]();
    expect((await lines.next()).value).toBe('hello');
    expect(fdCount(broker.pid)).toBe(before + 2);
    process.stdin.end('\n');
    // Said by its child, to which the socket was left.
    expect((await lines.next()).value).toBe('ended');
    await expect.poll(() => fdCount(broker.pid)).toBe(before);
  });

  test('of another user is turned away', async () => {
    using folder = scratch();
    const path = `${folder.path}/agents`;
    await using broker = await startBroker(profileOf({ start: { rules: [] } }));
    using door = bindAgentDoor(path);
    await broker.client.acceptAgents(door, 'agent', [12_345]);
    const process = spawn('python3', ['-c', python, path], { stdio: ['ignore', 'pipe', 'ignore'] });
    expect(await text(process.stdout)).toBe('turned away\n');
    expect(await broker.event(({ type }) => type === 'broker')).toMatchObject({
      what: expect.stringContaining('user 0) was not taken'),
    });
  });
});

async function untilEnd(fd: number): Promise<void> {
  for (;;) {
    const received = native.receiveMessage({ fd, maxBytes: 32_768, maxFds: 1 });
    if (received.kind === 'end') return;
    if (received.kind === 'again') await readable(fd);
  }
}
