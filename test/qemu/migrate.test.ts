// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { buildGuest, guestArguments } from '../../core/demo/guest.ts';
import { guestTicks } from '../../core/demo/guest-console.ts';
import type { MigrationReport } from '../../core/qemu/migrate.ts';
import type { AcceptOptions } from '../../core/qemu/migrate-incoming.ts';
import { startQemu, type UnsandboxedQemu } from './unsandboxed.ts';

const guestMs = 30_000;

/** One guest wanders from one QEMU to the next; every test leaves it running in `here`. */
describe('migration of a running guest', () => {
  const folder = mkdtempSync(join(tmpdir(), 'ratchet-migrate-'));
  let args: readonly string[];
  let here: UnsandboxedQemu;
  /** All that were started, so that a test that fails half-way leaves none behind. */
  const started: UnsandboxedQemu[] = [];
  /** What the guest has printed in the QEMUs that it has left. */
  let textBefore = '';

  beforeAll(async () => {
    args = guestArguments(await buildGuest({ cacheFolder: '.cache' }));
    here = await start(args);
    await here.qemu.cont();
    await here.console.waitForLine(/ratchet-guest: tick 3$/, guestMs);
  });

  afterAll(async () => {
    for (const vm of started) await vm[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  afterEach(async () => {
    expect(await here.qemu.status()).toEqual(expect.objectContaining({ status: 'running' }));
  });

  async function start(words: readonly string[]): Promise<UnsandboxedQemu> {
    const vm = await startQemu(words);
    started.push(vm);
    return vm;
  }

  async function startReceiver(): Promise<UnsandboxedQemu> {
    return await start([...args, '-incoming', 'defer']);
  }

  async function moveGuest(
    address: string,
    channels: number,
    accept: Partial<AcceptOptions> = {},
  ): Promise<MigrationReport> {
    const there = await startReceiver();
    try {
      const incoming = await there.qemu.acceptMigration(address, { channels, ...accept });
      const report = await here.qemu.migrate(address, { channels });
      await incoming.completed;
      expect(await here.qemu.status()).toMatchObject({ status: 'postmigrate', running: false });
      await here.qemu.quit();
      await here[Symbol.asyncDispose]();
      textBefore += here.console.text;
      here = there;
      return report;
    } catch (error) {
      await there[Symbol.asyncDispose]();
      throw new Error(`the receiver said: ${there.stderr()}`, { cause: error });
    }
  }

  /** The counter is held in guest memory: it goes on, and no value is missing or printed twice. */
  async function expectCounterWithoutGap(): Promise<void> {
    const arrived = guestTicks(textBefore).at(-1) ?? 0;
    await here.console.waitForLine(new RegExp(`tick ${arrived + 3}$`), guestMs);
    const ticks = guestTicks(textBefore + here.console.text);
    expect(ticks).toEqual(ticks.map((_, index) => index + 1));
  }

  test('moves over a unix socket by descriptor', async () => {
    const report = await moveGuest(`unix:${join(folder, 'one.sock')}`, 1);
    expect(report.channels).toBe(1);
    expect(report.transferredBytes).toBeGreaterThan(1024 * 1024);
    expect(report.downtimeMs).toBeGreaterThanOrEqual(0);
    await expectCounterWithoutGap();
  });

  test('moves over an abstract unix socket by descriptor', async () => {
    await moveGuest(`unix-abstract:ratchet-test-${process.pid}`, 1);
    await expectCounterWithoutGap();
  });

  test('moves over tcp by descriptor', async () => {
    await moveGuest(`tcp:127.0.0.1:${await freePort()}`, 1);
    await expectCounterWithoutGap();
  });

  test('moves over four tcp channels that QEMU connects itself', async () => {
    const report = await moveGuest(`tcp:127.0.0.1:${await freePort()}`, 4);
    expect(report.channels).toBe(4);
    await expectCounterWithoutGap();
  });

  test('moves over four unix channels that QEMU connects itself', async () => {
    await moveGuest(`unix:${join(folder, 'four.sock')}`, 4);
    await expectCounterWithoutGap();
  });

  test('moves with a hot-plugged disk when the receiver has it at the same place', async () => {
    const path = join(folder, 'disk.raw');
    writeFileSync(
      path,
      Buffer.concat([Buffer.from('travels along'), Buffer.alloc(1024 * 1024)]).subarray(0, 1024 * 1024),
    );
    const disk = { id: 'disk0', path, pciAddress: '05' };
    const seen = here.console.waitForLine(/disk-wrote vda$/, guestMs);
    await here.qemu.hotplug.addDisk(disk);
    await seen;

    const there = await startReceiver();
    await there.qemu.hotplug.addDisk(disk);
    const address = `unix:${join(folder, 'disk.sock')}`;
    const incoming = await there.qemu.acceptMigration(address);
    await here.qemu.migrate(address);
    await incoming.completed;
    await here[Symbol.asyncDispose]();
    textBefore += here.console.text;
    here = there;

    const gone = here.console.waitForLine(/disk-gone vda$/, guestMs);
    await here.qemu.hotplug.removeDisk('disk0');
    await gone;
    await expectCounterWithoutGap();
  });

  test('a cancelled migration rejects, the guest goes on here, and a later one succeeds', async () => {
    await using there = await startReceiver();
    const address = `unix:${join(folder, 'cancel.sock')}`;
    const incoming = await there.qemu.acceptMigration(address);
    const active = here.qemu.qmp.waitForEvent('MIGRATION', ({ data }) => data.status === 'active');
    const slow = 64 * 1024;
    const migration = here.qemu.migrate(address, { maxBytesPerSecond: slow });
    const rejected = expect(migration).rejects.toMatchObject({
      code: 'MIGRATION_FAILED',
      message: expect.stringContaining('cancelled'),
    });
    await active;
    await here.qemu.cancelMigration();
    await rejected;
    await expect(incoming.completed).rejects.toMatchObject({ code: 'MIGRATION_FAILED' });

    await moveGuest(`unix:${join(folder, 'again.sock')}`, 1);
    await expectCounterWithoutGap();
  });

  test('a migration that takes too long is cancelled and says so', async () => {
    await using there = await startReceiver();
    const address = `unix:${join(folder, 'slow.sock')}`;
    await there.qemu.acceptMigration(address);
    const slow = 64 * 1024;
    await expect(here.qemu.migrate(address, { maxBytesPerSecond: slow, timeoutMs: 200 })).rejects.toMatchObject({
      code: 'MIGRATION_FAILED',
      message: expect.stringContaining('200 ms'),
    });
  });

  test.each([
    { what: 'other memory, found out at once', change: ['-m', '200'], complaint: 'Size mismatch' },
    { what: 'another device, found out last', change: ['-no-hpet'], complaint: 'hpet' },
  ])('a receiver with $what ends, and the guest goes on here', async ({ change, complaint }) => {
    await using there = await start([...args, '-incoming', 'defer', ...change]);
    const address = `unix:${join(folder, `${complaint.slice(0, 4)}.sock`)}`;
    const incoming = await there.qemu.acceptMigration(address);
    await expect(here.qemu.migrate(address)).rejects.toMatchObject({ code: 'MIGRATION_FAILED' });
    await expect(incoming.completed).rejects.toMatchObject({
      code: 'MIGRATION_FAILED',
      message: expect.stringContaining('QEMU ended'),
    });
    await there[Symbol.asyncDispose]();
    expect(there.stderr()).toContain(complaint);
    await expectCounterWithoutGap();
  });

  test('nobody at the address: by descriptor the source of descriptors says so, by address QEMU does', async () => {
    const address = `unix:${join(folder, 'nobody.sock')}`;
    await expect(here.qemu.migrate(address)).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(here.qemu.migrate(address, { channels: 2 })).rejects.toMatchObject({
      code: 'MIGRATION_FAILED',
      message: expect.stringContaining('No such file or directory'),
    });
  });

  test('several channels need an address that QEMU can connect, and a sensible number', async () => {
    await expect(here.qemu.migrate('unix-abstract:x', { channels: 2 })).rejects.toMatchObject({
      code: 'ADDRESS_INVALID',
    });
    await expect(here.qemu.migrate('unix:/x', { channels: 0 })).rejects.toMatchObject({
      code: 'ARGUMENT_INVALID',
    });
    await expect(here.qemu.migrate('unix:/x', { channels: 256 })).rejects.toMatchObject({
      code: 'ARGUMENT_INVALID',
    });
  });

  test('a receiver that was started with an address of its own runs the guest when it has arrived', async () => {
    const address = `tcp:127.0.0.1:${await freePort()}`;
    const there = await start([...args, '-incoming', address]);
    const arrived = there.qemu.contWhenArrived();
    await here.qemu.migrate(address);
    await arrived;
    await here[Symbol.asyncDispose]();
    textBefore += here.console.text;
    here = there;
    await expectCounterWithoutGap();
  });

  test('a guest can be left paused where it arrives', async () => {
    await moveGuest(`unix:${join(folder, 'paused.sock')}`, 1, { paused: true });
    expect(await here.qemu.status()).toMatchObject({ status: 'paused', running: false });
    await here.qemu.cont();
    await expectCounterWithoutGap();
  });
});

/** A port of the loopback interface that nobody listened on a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
