// SPDX-License-Identifier: Apache-2.0
// Grants while the VM runs: by the launcher, and by hotplug and migration for their own time.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { LaunchOptions } from '../../core/launch/options.ts';
import type { Sandbox } from '../../core/launch/sandbox.ts';
import { launchBare, nextEvent } from './bare.ts';

const folder = mkdtempSync(join(tmpdir(), 'ratchet-grants-'));
const inside = (name: string) => join(folder, name);
const mayGrant: LaunchOptions['mayGrant'] = [
  { request: 'connect', target: `unix:${folder}/*` },
  { request: 'bind', target: `unix:${folder}/*` },
  { request: 'open', target: `${folder}/*` },
];
let vm: Sandbox;

beforeAll(async () => {
  writeFileSync(inside('disk.img'), Buffer.alloc(64 * 1024));
  vm = await launchBare([], { mayGrant });
});
afterAll(async () => {
  await vm.close();
  rmSync(folder, { recursive: true });
});

async function given(sandbox: Sandbox): Promise<readonly string[]> {
  const { grants } = await sandbox.status();
  return grants.filter(({ grant }) => grant !== undefined).map(({ request, target }) => `${request} ${target}`);
}

test('a disk is plugged without a grant for the life of the VM, and the grant is gone afterwards', async () => {
  await expect(vm.open(inside('disk.img'), 'ro')).rejects.toMatchObject({ code: 'REQUEST_REFUSED' });
  await vm.vmm.hotplug.addDisk({ id: 'disk1', path: inside('disk.img'), readOnly: true });
  expect(await given(vm)).toEqual([]);
  await expect(vm.open(inside('disk.img'), 'ro')).rejects.toMatchObject({ code: 'REQUEST_REFUSED' });
});

test('what may not be granted stays refused to hotplug too, with the line that would permit it', async () => {
  await expect(vm.vmm.hotplug.addDisk({ id: 'disk2', path: '/etc/shadow' })).rejects.toMatchObject({
    code: 'REQUEST_REFUSED',
    message: expect.stringContaining('grant: ["/etc/shadow"]'),
  });
});

test('a grant ends with `await using`', async () => {
  {
    await using grant = await vm.grant({ request: 'open', target: inside('disk.img') });
    expect(await given(vm)).toEqual([`open ${inside('disk.img')}`]);
    (await vm.open(inside('disk.img'), 'rw')).close();
    expect(grant.id).toBeGreaterThan(0);
  }
  await expect(vm.open(inside('disk.img'), 'rw')).rejects.toMatchObject({ code: 'REQUEST_REFUSED' });
});

test.each([1, 4])(
  'a migration over %i channels has its address granted from its beginning to its end, and not longer',
  async (channels) => {
    const address = `unix:${inside(`migrate-${channels}`)}`;
    await using there = await launchBare(['-incoming', 'defer'], { mayGrant });
    await using here = await launchBare([], { mayGrant });
    const revoked = nextEvent(here, ({ type, ...event }) => type === 'grant' && event['outcome'] === 'revoked', 60_000);
    const incoming = await there.vmm.acceptMigration(address, { channels });
    expect(await given(there)).toEqual([]);
    await here.vmm.migrate(address, { channels });
    await incoming.completed;
    expect(await revoked).toMatchObject({ request: 'connect', target: address });
    expect(await given(here)).toEqual([]);
    await expect(here.connect(address)).rejects.toMatchObject({ code: 'REQUEST_REFUSED', errno: 'EACCES' });
  },
);

test('a grant until the migration has ended is revoked when the migration fails', async () => {
  const target = `unix:${inside('nobody')}`;
  await vm.grant({ request: 'connect', target, until: 'migration' });
  expect(await given(vm)).toEqual([`connect ${target}`]);
  const revoked = nextEvent(vm, ({ type, ...event }) => type === 'grant' && event['outcome'] === 'revoked');
  // QEMU's own attempt, with several channels: the event is QEMU's word.
  await expect(vm.vmm.migrate(`unix:${inside('elsewhere')}`, { channels: 2 })).rejects.toMatchObject({
    code: 'MIGRATION_FAILED',
  });
  await revoked;
  await expect.poll(() => given(vm)).toEqual([]);
});

test('no grant reaches into a stage that is closed to grants, or holds there', async () => {
  await using sealing = await launchBare([], { mayGrant });
  const target = inside('disk.img');
  await expect(sealing.grant({ request: 'open', target, through: 'sealed' })).rejects.toMatchObject({
    code: 'REQUEST_REFUSED',
    message: expect.stringContaining('stage sealed lets nobody grant it'),
  });
  await expect(sealing.grant({ request: 'open', target, through: 'nowhere' })).rejects.toMatchObject({
    code: 'STAGE_UNKNOWN',
  });
  const grant = await sealing.grant({ request: 'open', target });
  await sealing.enter('sealed');
  expect(await given(sealing)).toEqual([]);
  expect(await grant.revoke()).toBe(false);
  await expect(sealing.open(target, 'ro')).rejects.toMatchObject({ code: 'REQUEST_REFUSED' });
  await expect(sealing.grant({ request: 'open', target })).rejects.toMatchObject({ code: 'REQUEST_REFUSED' });
});
