// SPDX-License-Identifier: Apache-2.0
// A broker that dies is replaced, and the next one goes on where it was.
import { expect, test } from 'vitest';
import { native } from '../../native/index.ts';
import { launchBare, nextEvent } from './bare.ts';
import { listenOnLoopback } from './loopback.ts';
import { makeCall } from './make-call.ts';
import { waitFor } from './processes.ts';

const isReplaced = (event: { readonly type: string }) =>
  event.type === 'broker' && (event as { what?: unknown }).what === 'replaced';

test('stage, counters and grants go on, and what was granted once is not granted again', async () => {
  await using server = await listenOnLoopback();
  const target = server.address;
  await using sandbox = await launchBare([], {
    allow: [{ request: 'open', target: '/dev/zero:ro' }],
    mayGrant: [{ request: 'connect', target }],
  });
  await sandbox.grant({ request: 'connect', target, uses: 1 });
  (await sandbox.connect(target)).close();
  await sandbox.grant({ request: 'connect', target, uses: 2 });
  (await sandbox.connect(target)).close();
  await expect(sandbox.connect('tcp:127.0.0.1:1')).rejects.toMatchObject({ code: 'REQUEST_REFUSED' });
  const before = await sandbox.status();
  const replaced = nextEvent(sandbox, isReplaced);
  process.kill(before.broker.pid, 'SIGKILL');
  const event = await replaced;
  const after = await sandbox.status();
  expect(event).toMatchObject({ pid: before.broker.pid, newPid: after.broker.pid });
  const { allowed, denied } = before.broker;
  expect(after.broker).toMatchObject({ alive: true, allowed, denied });
  // One that was used up is not taken over at all.
  expect(after.grants).toEqual(before.grants.filter((grant) => grant.usesLeft !== 0));
  (await sandbox.connect(target)).close();
  await expect(sandbox.connect(target)).rejects.toMatchObject({ code: 'REQUEST_REFUSED' });
  (await sandbox.open('/dev/zero')).close();
  const report = await sandbox.attest();
  expect(report).toMatchObject({ ok: true, stage: 'running' });
  expect(report.mechanisms).toContainEqual(expect.objectContaining({ name: 'broker-seccomp', state: 'enforced' }));
});

test('a call that was under way fails, and the next one is served by the new broker', async () => {
  await using server = await listenOnLoopback();
  // Room for one that nobody accepts: the second waits.
  const hole = await launchHole();
  await using sandbox = await launchBare([], {
    allow: [hole.address, server.address].map((target) => ({ request: 'connect', target })),
  });
  const { broker } = await sandbox.status();
  await sandbox.vmm.qmp.executeAny('migrate', { uri: hole.address });
  await waitFor('the connect to be under way', async () => (await sandbox.status()).broker.pending > 0);
  const replaced = nextEvent(sandbox, isReplaced);
  process.kill(broker.pid, 'SIGKILL');
  await replaced;
  const failed = await waitFor('the migration to fail', async () => {
    const answer = (await sandbox.vmm.qmp.executeAny('query-migrate')) as Record<string, string>;
    return answer['status'] === 'failed' && answer;
  });
  expect(failed['error-desc']).toContain('Input/output error');
  await sandbox.vmm.qmp.executeAny('migrate', { uri: server.address });
  await waitFor('the connection', () => server.connections() > 0);
  hole.close();
});

test('refusals that count against the limit go on counting', async () => {
  const max = 3;
  await using sandbox = await launchBare([], { maxRefusals: max });
  expect((await sandbox.status()).broker.denied).toBe(0);
  const refused = (): Promise<number> => makeCall({ pid: sandbox.pid, tid: sandbox.pid }, 'chdir', ['/']);
  for (let call = 1; call < max; call++) expect(await refused()).toBeLessThan(0);
  const replaced = nextEvent(sandbox, isReplaced);
  process.kill((await sandbox.status()).broker.pid, 'SIGKILL');
  await replaced;
  const violation = nextEvent(sandbox, ({ type }) => type === 'violation');
  await Promise.allSettled([refused()]);
  expect(await violation).toMatchObject({ words: expect.stringContaining(`was refused ${max} calls`) });
  expect(await sandbox.exited).toMatchObject({ signal: 'SIGKILL' });
});

test('one that dies again and again is given up, and then the kernel answers', async () => {
  await using sandbox = await launchBare([], { brokerRestarts: 1 });
  const replaced = nextEvent(sandbox, isReplaced);
  const first = await sandbox.status();
  process.kill(first.broker.pid, 'SIGKILL');
  await replaced;
  const ended = nextEvent(sandbox, (event) => event.type === 'broker' && event['what'] === 'ended');
  process.kill((await sandbox.status()).broker.pid, 'SIGKILL');
  expect(await ended).toMatchObject({ next: expect.stringContaining('ENOSYS') });
  expect(await sandbox.vmm.status()).toMatchObject({ running: true });
});

async function launchHole(): Promise<{ readonly address: string; readonly close: () => void }> {
  const loopback = Buffer.from('02000000 7f000001 0000000000000000'.replaceAll(' ', ''), 'hex');
  const listener = native.createSocket({ domain: 2, type: 1, protocol: 0 });
  native.bindSocket({ fd: listener, address: loopback });
  native.listenSocket({ fd: listener, backlog: 0 });
  const name = native.getSocketName({ fd: listener });
  const filler = native.createSocket({ domain: 2, type: 1, protocol: 0 });
  native.connectSocket({ fd: filler, address: name });
  return {
    address: `tcp:127.0.0.1:${name.readUInt16BE(2)}`,
    close: () => {
      for (const fd of [listener, filler]) native.closeFd({ fd });
    },
  };
}
