// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildGuest, guestArguments } from '../../core/demo/guest.ts';
import { guestAddress, guestMark } from '../../core/demo/guest-init.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import { Hotplug } from '../../core/qemu/hotplug.ts';
import { native } from '../../native/index.ts';
import { directFdSource } from './direct-fd-source.ts';
import { FramedPeer } from './framed-peer.ts';
import { TapNamespace } from './tap-namespace.ts';
import { startQemu, type UnsandboxedQemu } from './unsandboxed.ts';

const hostAddress = '192.0.2.1';
const guestMs = 30_000;
const imageBytes = 1024 * 1024;

describe('hotplug into a running guest', () => {
  const folder = mkdtempSync(join(tmpdir(), 'ratchet-hotplug-'));
  let vm: UnsandboxedQemu;

  beforeAll(async () => {
    vm = await startQemu(guestArguments(await buildGuest({ cacheFolder: '.cache' })));
    await vm.qemu.cont();
    await vm.console.waitForLine(/ratchet-guest: tick 1$/, guestMs);
  });

  afterAll(async () => {
    await vm[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  /** The first line from now on that matches. */
  function expectLine(pattern: RegExp): Promise<RegExpExecArray> {
    return vm.console.waitForLine(pattern, guestMs, vm.console.text.length);
  }

  async function fdsets(): Promise<unknown> {
    return await vm.qemu.qmp.executeAny('query-fdsets');
  }

  async function blockNodes(): Promise<readonly unknown[]> {
    return (await vm.qemu.qmp.executeAny('query-named-block-nodes')) as readonly unknown[];
  }

  async function netdevs(): Promise<string> {
    return await vm.qemu.hmp('info network');
  }

  function writeImage(name: string, text: string): string {
    const path = join(folder, name);
    const content = Buffer.alloc(imageBytes);
    content.write(text);
    writeFileSync(path, content);
    return path;
  }

  test('a NIC on a tap device appears in the guest, carries traffic and is taken away', async () => {
    await using namespace = await TapNamespace.create('ratchet%d', `${hostAddress}/24`);
    const hotplug = new Hotplug(
      vm.qemu.qmp,
      directFdSource(async () => namespace.tap),
    );

    const seen = expectLine(/nic eth0 (.*)$/);
    const added = await hotplug.addNic({ id: 'nic0', tap: 'ratchet%d', mac: '52:54:00:12:34:56' });
    expect(added).toEqual({ id: 'nic0', tap: 'ratchet0' });
    expect((await seen)[1]).toBe('52:54:00:12:34:56');
    expect(await namespace.answers(guestAddress)).toBe(true);

    const gone = expectLine(/nic-gone eth0$/);
    await hotplug.removeNic('nic0');
    await gone;
    expect(await netdevs()).toBe('');
  });

  test('a NIC on a connected socket appears in the guest, carries traffic and is taken away', async () => {
    const path = join(folder, 'peer.sock');
    await using peer = await FramedPeer.listen(path);
    const hotplug = new Hotplug(vm.qemu.qmp, directFdSource());

    const seen = expectLine(/nic eth0 (.*)$/);
    await hotplug.addNic({ id: 'nic1', connect: `unix:${path}`, mac: '52:54:00:12:34:57' });
    await seen;
    expect(await peer.whoHas(guestAddress, hostAddress)).toBe('52:54:00:12:34:57');

    const gone = expectLine(/nic-gone eth0$/);
    await hotplug.removeNic('nic1');
    await gone;
    expect(await netdevs()).toBe('');
  });

  test('a disk appears in the guest, is read, written and taken away, and nothing of it is left', async () => {
    const path = writeImage('disk.raw', 'text of the disk');
    const source = directFdSource();
    const hotplug = new Hotplug(vm.qemu.qmp, source);

    const text = expectLine(/disk-text vda (.*)$/);
    const wrote = expectLine(/disk-wrote vda$/);
    await hotplug.addDisk({ id: 'disk0', path });
    expect((await text)[1]).toBe('text of the disk');
    await wrote;
    expect(
      readFileSync(path)
        .subarray(512, 512 + guestMark.length)
        .toString(),
    ).toBe(guestMark);
    expect(source.opened).toEqual([`${path}:rw`]);

    const gone = expectLine(/disk-gone vda$/);
    await hotplug.removeDisk('disk0');
    await gone;
    expect(await fdsets()).toEqual([]);
    expect(await blockNodes()).toEqual([]);
  });

  test('a read-only disk is opened read-only and the guest knows', async () => {
    const path = writeImage('read-only.raw', 'only to read');
    const source = directFdSource();
    const hotplug = new Hotplug(vm.qemu.qmp, source);
    const seen = expectLine(/disk-read-only vda$/);
    await hotplug.addDisk({ id: 'disk1', path, readOnly: true });
    await seen;
    expect(source.opened).toEqual([`${path}:ro`]);
    await hotplug.removeDisk('disk1');
  });

  test('images stay locked against other users, as if QEMU had opened them itself', async () => {
    const path = writeImage('locked.raw', 'locked');
    const hotplug = new Hotplug(vm.qemu.qmp, directFdSource());
    await hotplug.addDisk({ id: 'disk2', path });
    await expect(hotplug.addDisk({ id: 'disk3', path })).rejects.toMatchObject({
      code: 'QMP_ERROR',
      message: expect.stringContaining('lock'),
    });
    await hotplug.removeDisk('disk2');
    expect(await blockNodes()).toEqual([]);
  });

  test('a qcow2 image is used without its backing file, which QEMU would open by path', async () => {
    const path = join(folder, 'image.qcow2');
    writeFileSync(path, qcow2WithBacking('/etc/hostname', imageBytes));
    const hotplug = new Hotplug(vm.qemu.qmp, directFdSource());
    const seen = expectLine(/disk vda (\d+)$/);
    await hotplug.addDisk({ id: 'disk4', path, format: 'qcow2' });
    expect(Number((await seen)[1])).toBe(imageBytes);
    await hotplug.removeDisk('disk4');
  });

  test('a vCPU is plugged in and the guest brings it online; when all places are taken the error says so', async () => {
    const hotplug = new Hotplug(vm.qemu.qmp, directFdSource());
    const seen = expectLine(/cpus 2$/);
    const before = await vm.qemu.vcpuThreads();
    const added = await hotplug.addCpu();
    expect(added.place).toMatchObject({ 'core-id': 1 });
    await seen;
    const after = await vm.qemu.vcpuThreads();
    expect(after).toHaveLength(before.length + 1);
    expect((await vm.qemu.threadRoles()).get(after[1] ?? 0)).toBe('vcpu');
    await expect(hotplug.addCpu()).rejects.toMatchObject({
      code: 'ARGUMENT_INVALID',
      message: expect.stringContaining('maxcpus'),
    });
  });

  test('a failure half-way leaves nothing behind', async () => {
    const path = writeImage('half.raw', 'half');
    const hotplug = new Hotplug(
      vm.qemu.qmp,
      directFdSource(async () => notATap()),
    );
    // The last step fails, then an earlier one.
    await expect(hotplug.addDisk({ id: 'disk5', path, pciAddress: '00' })).rejects.toMatchObject({ code: 'QMP_ERROR' });
    await expect(hotplug.addDisk({ id: 'disk5', path, format: 'qcow2' })).rejects.toMatchObject({ code: 'QMP_ERROR' });
    expect(await fdsets()).toEqual([]);
    expect(await blockNodes()).toEqual([]);

    await expect(hotplug.addNic({ id: 'nic2', tap: 'x' })).rejects.toMatchObject({ code: 'QMP_ERROR' });
    await using peer = await FramedPeer.listen(join(folder, 'half.sock'));
    void peer;
    const nic = { id: 'nic2', connect: `unix:${join(folder, 'half.sock')}`, pciAddress: '00' };
    await expect(hotplug.addNic(nic)).rejects.toMatchObject({ code: 'QMP_ERROR' });
    expect(await netdevs()).toBe('');
  });

  test('a device that does not exist cannot be removed, and a bad id is refused before anything is asked', async () => {
    const hotplug = new Hotplug(vm.qemu.qmp, directFdSource());
    await expect(hotplug.removeNic('nobody')).rejects.toMatchObject({
      qmpClass: 'DeviceNotFound',
      command: 'device_del',
    });
    await expect(hotplug.removeDisk('nobody')).rejects.toMatchObject({ qmpClass: 'DeviceNotFound' });
    for (const id of ['', '0', 'a b', 'a,b=c', 'x'.repeat(21)]) {
      await expect(hotplug.addNic({ id, tap: 'x' })).rejects.toMatchObject({ code: 'ARGUMENT_INVALID' });
    }
  });
});

/** A descriptor on which every tap ioctl fails. */
async function notATap(): Promise<{ readonly fd: OwnedFd; readonly name: string }> {
  return { fd: new OwnedFd(native.memfd({ name: 'not-a-tap', data: Buffer.alloc(0), seal: false })), name: 'none' };
}

/** The smallest valid qcow2 (version 2): header, refcount table and block, L1 table; every cluster unallocated. */
function qcow2WithBacking(backing: string, virtualBytes: number): Buffer {
  const clusterBits = 16;
  const cluster = 1 << clusterBits;
  const image = Buffer.alloc(4 * cluster);
  const backingOffset = 512;
  image.write('QFI\xfb', 0, 'latin1');
  image.writeUInt32BE(2, 4);
  image.writeBigUInt64BE(BigInt(backingOffset), 8);
  image.writeUInt32BE(backing.length, 16);
  image.writeUInt32BE(clusterBits, 20);
  image.writeBigUInt64BE(BigInt(virtualBytes), 24);
  image.writeUInt32BE(1, 36); // entries of the L1 table
  image.writeBigUInt64BE(BigInt(3 * cluster), 40);
  image.writeBigUInt64BE(BigInt(cluster), 48);
  image.writeUInt32BE(1, 56); // clusters of the refcount table
  image.write(backing, backingOffset);
  image.writeBigUInt64BE(BigInt(2 * cluster), cluster);
  for (let used = 0; used < 4; used++) image.writeUInt16BE(1, 2 * cluster + 2 * used);
  return image;
}
