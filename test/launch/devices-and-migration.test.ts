// SPDX-License-Identifier: Apache-2.0
// What QEMU does with others, all of it by the broker: every kind of migration, and a NIC on a socket. The guest answers for itself.
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildGuest, type Guest, guestArguments } from '../../core/demo/guest.ts';
import { GuestConsole, guestTicks } from '../../core/demo/guest-console.ts';
import { guestAddress } from '../../core/demo/guest-init.ts';
import { launch } from '../../core/launch/launch.ts';
import type { Sandbox } from '../../core/launch/sandbox.ts';
import type { Grant } from '../../core/policy/index.ts';
import { packagePath } from '../../native/package-path.ts';
import { FramedPeer } from '../qemu/framed-peer.ts';

const folder = mkdtempSync(join(tmpdir(), 'ratchet-test-'));
const guestMs = 40_000;
let guest: Guest;
beforeAll(async () => {
  guest = await buildGuest({ cacheFolder: packagePath('.cache') });
});
afterAll(() => rmSync(folder, { recursive: true }));

async function start(
  allow: readonly Grant[],
  args: readonly string[] = [],
  features: readonly string[] = [],
): Promise<Sandbox> {
  return await launch({
    command: ['qemu-system-x86_64', ...guestArguments(guest), ...args],
    allow,
    features,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** What the broker grants from now on, by request. */
function grantsOf(sandbox: Sandbox): readonly string[] {
  const requests: string[] = [];
  const reader = sandbox.events[Symbol.asyncIterator]();
  void (async () => {
    for (let next = await reader.next(); next.done !== true; next = await reader.next())
      if (next.value.type === 'grant') requests.push(String(next.value['request']));
  })();
  return requests;
}

describe('a guest moves from one sandboxed QEMU to another', () => {
  test.each([
    ['tcp', 1],
    ['tcp', 4],
    ['unix', 1],
    ['unix', 4],
  ])('over %s with %i channels, and counts on without a gap', async (kind, channels) => {
    const address =
      kind === 'tcp' ? `tcp:127.0.0.1:${await freePort()}` : `unix:${join(folder, `migrate-${channels}`)}`;
    await using here = await start([{ request: 'connect', target: address }]);
    const hereGrants = grantsOf(here);
    const hereConsole = new GuestConsole(here.stdout);
    await using there = await start([{ request: 'bind', target: address }], ['-incoming', 'defer']);
    const thereGrants = grantsOf(there);
    const thereConsole = new GuestConsole(there.stdout);
    await hereConsole.waitForLine(/ratchet-guest: tick 2/, guestMs);
    const incoming = await there.vmm.acceptMigration(address, { channels });
    await here.vmm.migrate(address, { channels });
    await incoming.completed;
    const [, ticks] = await thereConsole.waitForLine(
      /^ratchet-guest: tick (\d+)$/,
      guestMs,
      thereConsole.text.indexOf('\n') + 1,
    );
    const counted = guestTicks(hereConsole.text + thereConsole.text);
    expect(counted).toEqual(Array.from({ length: counted.length }, (_, index) => (counted[0] ?? 0) + index));
    expect(counted).toContain(Number(ticks));
    // One connection a channel, and multifd's own main one; one bind.
    expect(hereGrants.filter((request) => request === 'connect')).toHaveLength(channels === 1 ? 1 : channels + 1);
    expect(thereGrants.filter((request) => request === 'bind')).toHaveLength(1);
  });

  test('not to an address that only the other side was granted', async () => {
    const address = `unix:${join(folder, 'nobody')}`;
    await using here = await start([{ request: 'bind', target: address }]);
    await expect(here.vmm.migrate(address)).rejects.toMatchObject({ code: 'REQUEST_REFUSED', errno: 'EACCES' });
    await expect(here.vmm.migrate(address, { channels: 4 })).rejects.toMatchObject({ code: 'MIGRATION_FAILED' });
    expect((await here.vmm.status()).running).toBe(true);
  });
});

test('a NIC on a socket that the broker connected carries frames to the guest and back', async () => {
  const path = join(folder, 'nic');
  await using peer = await FramedPeer.listen(path);
  await using sandbox = await start([{ request: 'connect', target: `unix:${path}` }], [], ['nic-socket']);
  const console = new GuestConsole(sandbox.stdout);
  await console.waitForLine(/ratchet-guest: up/, guestMs);
  const mac = '52:54:00:00:00:07';
  await sandbox.vmm.hotplug.addNic({ id: 'nic1', connect: `unix:${path}`, mac });
  await console.waitForLine(new RegExp(`ratchet-guest: nic eth0 ${mac}`), guestMs);
  expect(await peer.whoHas(guestAddress, '192.0.2.1')).toBe(mac);
  await sandbox.vmm.hotplug.removeNic('nic1');
  await console.waitForLine(/ratchet-guest: nic-gone eth0/, guestMs);
});
