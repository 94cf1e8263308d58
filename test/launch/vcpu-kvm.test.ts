// SPDX-License-Identifier: Apache-2.0
// The vCPU role under KVM, where a vCPU thread makes its calls between two KVM_RUN: a guest of one sector keeps two disks and a network card busy, and writes
// to the disks what the card brings. Its card and one of the disks are moved by the vCPU thread itself, byte by byte, the other disk by an iothread.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { GuestConsole } from '../../core/demo/guest-console.ts';
import { EventStream, type SandboxEvent } from '../../core/launch/events.ts';
import { launch } from '../../core/launch/launch.ts';
import { packagePath } from '../../native/package-path.ts';
import { scratch } from '../brokers/rig.ts';

const guestMs = 60_000;
const rounds = 20;
const message = 'to both disks, and back';

test.each([
  ['in soak, where all that its role would refuse is told', ['running']],
  ['under its filters', []],
] as const)(
  'a vCPU may call what disk and network I/O need, %s',
  async (_, soak) => {
    using folder = scratch();
    const [system, data] = [join(folder.path, 'system.img'), join(folder.path, 'data.img')];
    assembleGuest(folder.path, system);
    writeFileSync(data, '');
    for (const disk of [system, data]) truncateSync(disk, 1024 * 1024);
    const socket = join(folder.path, 'nic');
    await using peer = createServer().listen(socket);
    await once(peer, 'listening');
    const connected = once(peer, 'connection');
    const events = new EventStream();
    const refused: SandboxEvent[] = [];
    const reading = (async () => {
      for await (const event of events) if (event.type === 'refusal') refused.push(event);
    })();
    {
      await using sandbox = await launch({
        command: ['qemu-system-x86_64', ...machine(system, data, socket)],
        allow: [{ request: 'connect', target: `unix:${socket}` }],
        features: ['nic-socket'],
        soak,
        stdio: ['ignore', 'pipe', 'pipe'],
        deadlineMs: guestMs,
        events,
      });
      const [connection] = (await connected) as [Socket];
      connection.on('error', () => undefined);
      let sent = '';
      let frames = 0;
      connection.on('data', (bytes: Buffer) => {
        sent += bytes.toString('latin1');
        // The card's own address, as the guest wrote it, stands in each frame once.
        frames = sent.split('\x52\x54\0\0\0\x01\x88\xb5').length - 1;
      });
      const console = new GuestConsole(sandbox.stdout);
      for (let round = 0; round < rounds; round++) await console.waitForLine(/round/, guestMs, console.text.length);
      expect(console.text).not.toContain('fault');
      while (frames < rounds - 1) await once(connection, 'data');
      connection.write(frameOf(message));
      await console.waitForLine(/frame/, guestMs);
      // Sent by the guest after it was on both disks.
      while (!sent.includes(message)) await once(connection, 'data');
      const { threads } = await sandbox.attest();
      expect(threads.filter(({ role }) => role === 'vcpu')).toHaveLength(1);
      expect(threads.filter(({ role }) => role === 'io')).toHaveLength(1);
      expect(await sandbox.vmm.qmp.executeAny('query-kvm')).toMatchObject({ enabled: true });
      connection.destroy();
    }
    await reading;
    expect(refused.filter(({ role }) => role === 'vcpu' || role === 'io')).toEqual([]);
    for (const disk of [system, data])
      expect(
        readFileSync(disk)
          .subarray(8 * 512)
          .toString('latin1'),
      ).toContain(message);
  },
  120_000,
);

/** An Ethernet frame as QEMU has it on a stream: its length before it. */
function frameOf(payload: string): Buffer {
  const header = Buffer.from('ffffffffffff02000000000288b5', 'hex');
  const frame = Buffer.concat([header, Buffer.from(payload.padEnd(46, '\0'))]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(frame.length);
  return Buffer.concat([length, frame]);
}

function assembleGuest(folder: string, image: string): void {
  const object = join(folder, 'guest.o');
  execFileSync('cc', ['-c', '-m32', '-o', object, packagePath('test/launch/programs/io-guest.S')]);
  execFileSync('ld', ['-m', 'elf_i386', '-Ttext=0x7c00', '--oformat', 'binary', '-o', image, object]);
}

function machine(system: string, data: string, socket: string): readonly string[] {
  return [
    ...['-machine', 'pc,accel=kvm', '-nodefaults', '-display', 'none', '-m', '64', '-serial', 'stdio'],
    ...['-drive', `file=${system},format=raw,if=none,id=system`, '-object', 'iothread,id=io0'],
    ...['-device', 'virtio-blk-pci,drive=system,iothread=io0,bootindex=1'],
    ...['-drive', `file=${data},format=raw,if=none,id=data`, '-device', 'ide-hd,drive=data,bootindex=2'],
    ...['-netdev', `stream,id=net,server=off,addr.type=unix,addr.path=${socket}`],
    ...['-device', 'ne2k_isa,iobase=0x300,irq=9,netdev=net'],
  ];
}
