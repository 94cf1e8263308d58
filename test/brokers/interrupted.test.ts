// SPDX-License-Identifier: Apache-2.0
// Callers that are interrupted, killed, race with themselves, or cannot be seen: nothing leaks, and nothing is done twice.
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { addressToSockaddr, parseAddress } from '../../core/policy/address/index.ts';
import { profileOf } from './policy.ts';
import { fdCount, hex, type ServedBroker, scratch, startBroker, startVictim, type Victim } from './rig.ts';

const brokered = { kind: 'broker' } as const;
const sockaddr = (text: string) => hex(addressToSockaddr(parseAddress(text)));
const cleanUp: (() => unknown)[] = [];

afterEach(async () => {
  for (const step of cleanUp.splice(0).reverse()) await step();
});

async function rig(
  rules: readonly string[],
  within: readonly string[] = [],
): Promise<{ broker: ServedBroker; victim: Victim }> {
  const actions = { connect: brokered, bind: brokered };
  const broker = await startBroker(profileOf({ start: { rules, actions } }), [], within);
  cleanUp.push(() => broker[Symbol.asyncDispose]());
  const victim = await startVictim(broker.client);
  cleanUp.push(() => victim.end());
  return { broker, victim };
}

/** Counts who came. */
async function counting(on: string | number): Promise<{ readonly came: () => number; readonly port: number }> {
  let came = 0;
  const server = createServer((socket) => {
    came += 1;
    socket.on('error', () => undefined);
    socket.destroy();
  });
  cleanUp.push(() => new Promise((resolve) => server.close(resolve)));
  await new Promise<void>((resolve) => server.listen(on as string, resolve));
  const address = server.address();
  return { came: () => came, port: typeof address === 'object' && address !== null ? address.port : 0 };
}

test.each([
  ['with SA_RESTART, blocking', 1, 1],
  ['with SA_RESTART, non-blocking', 1, 0],
  ['without SA_RESTART, blocking', 0, 1],
  ['without SA_RESTART, non-blocking', 0, 0],
])('a storm of signals %s: each connect that says so was made once, and no other', async (_name, restart, blocking) => {
  using directory = scratch();
  const path = join(directory.path, 'peer');
  const { came } = await counting(path);
  const { broker, victim } = await rig([`connect unix:${path}`]);
  const before = fdCount(broker.pid);
  const answer = await victim.ask(`storm ${restart} ${blocking} 1000 ${sockaddr(`unix:${path}`)}`);
  const [, made = 0, interrupted = 0] = (/^made (\d+) interrupted (\d+) other none$/.exec(answer) ?? []).map(Number);
  expect(answer).toMatch(/other none$/);
  expect(made).toBeGreaterThan(0);
  if (restart === 1) expect(interrupted).toBe(0);
  await expect.poll(came).toBe(made);
  expect((await broker.client.status()).pending).toBe(0);
  // One more: the inode that the flow has pinned.
  expect(fdCount(broker.pid)).toBe(before + 1);
});

test('a dup2 during the call connects a socket that was judged, or none', async () => {
  const { came, port } = await counting(0);
  const { broker, victim } = await rig([`connect tcp:127.0.0.1:${port}`]);
  const before = fdCount(broker.pid);
  const answer = await victim.ask(`swap 2000 ${sockaddr(`tcp:127.0.0.1:${port}`)}`);
  const [, made = 0] = (/^made (\d+) astray 0$/.exec(answer) ?? []).map(Number);
  expect(answer).toMatch(/astray 0$/);
  expect(made).toBeGreaterThan(0);
  expect(made).toBeLessThan(2000);
  // Fewer may come: the number may still mean the socket of the call before, and connecting that again is no new connection.
  await expect.poll(came).toBeGreaterThan(0);
  expect(came()).toBeLessThanOrEqual(made);
  expect(fdCount(broker.pid)).toBe(before);
});

test('killed at any moment, the callers leave nothing behind', async () => {
  using directory = scratch();
  const path = join(directory.path, 'peer');
  const { came } = await counting(path);
  let before: number | undefined;
  for (let round = 0; round < 4; round += 1) {
    const { broker, victim } = await rig([`connect unix:${path}`]);
    before = fdCount(broker.pid);
    for (let thread = 0; thread < 8; thread += 1) victim.tell(`meanwhile flood 100000 1 ${sockaddr(`unix:${path}`)}`);
    const { allowed } = await broker.client.status();
    while ((await broker.client.status()).allowed < allowed + 20 * (round + 1));
    await victim.end();
    await broker.event((event) => event.type === 'broker' && event.what.startsWith('the VMM has ended'));
    const { pending, listener } = await broker.client.status();
    expect({ pending, listener, fds: fdCount(broker.pid) }).toEqual({ pending: 0, listener: 'ended', fds: before - 1 });
  }
  expect(came()).toBeGreaterThan(0);
});

test('a caller in a pid namespace that the broker cannot see is refused', async () => {
  const { port } = await counting(0);
  const { broker, victim } = await rig([`connect tcp:127.0.0.1:${port}`], ['unshare', '--pid', '--fork', '--']);
  expect(await victim.ask(`connect 2 1 0 ${sockaddr(`tcp:127.0.0.1:${port}`)}`)).toBe('EACCES');
  expect(await broker.event(({ type }) => type === 'refusal')).toMatchObject({
    syscall: 'connect',
    tid: 0,
    errno: 'EACCES',
  });
});
