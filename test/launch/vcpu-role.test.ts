// SPDX-License-Identifier: Apache-2.0
// What the shipped profile leaves to vCPU threads is enough for a guest that keeps its disk and its network busy: in soak everything that a role refuses
// aloud would be told. Under TCG; vcpu-kvm.test.ts does the same in KVM, which where it is nested may not run Linux.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { buildGuest, guestArguments } from '../../core/demo/guest.ts';
import { GuestConsole } from '../../core/demo/guest-console.ts';
import { guestAddress } from '../../core/demo/guest-init.ts';
import { EventStream, type SandboxEvent } from '../../core/launch/events.ts';
import { launch } from '../../core/launch/launch.ts';
import { summarizeFilter } from '../../core/policy/index.ts';
import { loadProfile } from '../../core/profile-files.ts';
import { packagePath } from '../../native/package-path.ts';
import { scratch } from '../brokers/rig.ts';
import { FramedPeer } from '../qemu/framed-peer.ts';

const mostCalls = 25;
const guestMs = 120_000;

test('a vCPU may call at most 25 system calls, in every stage that has the role', () => {
  for (const { name, roles } of loadProfile('qemu').stages)
    for (const [role, policy] of Object.entries(roles).filter(([each]) => each === 'vcpu'))
      expect([name, role, summarizeFilter(policy).names.length <= mostCalls]).toEqual([name, role, true]);
});

test('these are all that it calls, with disk and network I/O', async () => {
  using folder = scratch();
  const image = join(folder.path, 'disk.img');
  writeFileSync(image, Buffer.alloc(4 * 1024 * 1024));
  const socket = join(folder.path, 'nic');
  await using peer = await FramedPeer.listen(socket);
  const events = new EventStream();
  const refused: SandboxEvent[] = [];
  const reading = (async () => {
    for await (const event of events) if (event.type === 'refusal') refused.push(event);
  })();
  const guest = guestArguments(await buildGuest({ cacheFolder: packagePath('.cache') }));
  {
    await using sandbox = await launch({
      command: ['qemu-system-x86_64', ...underLoad(guest), '-drive', `file=${image},format=raw,if=virtio`],
      allow: [{ request: 'connect', target: `unix:${socket}` }],
      soak: ['running'],
      stdio: ['ignore', 'pipe', 'pipe'],
      deadlineMs: guestMs,
      events,
    });
    const console = new GuestConsole(sandbox.stdout);
    await console.waitForLine(/ratchet-guest: up/, guestMs);
    await sandbox.vmm.hotplug.addNic({ id: 'nic1', connect: `unix:${socket}` });
    await console.waitForLine(/ratchet-guest: nic eth0/, guestMs);
    for (let answers = 0; answers < 20; answers++) await peer.whoHas(guestAddress, '192.0.2.1');
    await console.waitForLine(/ratchet-guest: round/, guestMs, console.text.length);
  }
  await reading;
  expect(refused.filter(({ role }) => role === 'vcpu')).toEqual([]);
}, 300_000);

function underLoad(guest: readonly string[]): readonly string[] {
  return guest.map((word, index) => (guest[index - 1] === '-append' ? `${word} load=yes` : word));
}
