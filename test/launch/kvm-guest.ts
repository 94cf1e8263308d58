// SPDX-License-Identifier: Apache-2.0
// A guest of one sector that works under KVM: it keeps two disks and a network card busy, and writes to the disks what the card brings. Its card and one of the disks are
// moved by the vCPU thread itself, byte by byte, between two KVM_RUN; the other disk by an iothread. (Linux does not boot under every KVM in a KVM.)
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { GuestConsole } from '../../core/demo/guest-console.ts';
import { EventStream, type SandboxEvent } from '../../core/launch/events.ts';
import { launch } from '../../core/launch/launch.ts';
import type { EnforcementReport } from '../../core/launch/report.ts';
import { packagePath } from '../../native/package-path.ts';

export const kvmFeatures = ['nic-socket'] as const;
const guestMs = 60_000;
const message = 'to both disks, and back';
/** Behind the guest itself. */
const startOfData = 8 * 512;
/** The card's own address and the frame's kind, as the guest writes them: once in each frame. */
const ownAddress = '\x52\x54\0\0\0\x01\x88\xb5';

export interface KvmWork {
  /** In each it writes and reads both disks and sends a frame. */
  readonly rounds: number;
  /** What it printed. */
  readonly said: string;
  readonly report: EnforcementReport;
  /** What QEMU says of its accelerator. */
  readonly kvm: unknown;
  readonly refused: readonly SandboxEvent[];
  /** Whether what the card brought is on both disks. */
  readonly written: boolean;
}

/** Works for so many rounds, and for so long, whichever is later. */
export async function workUnderKvm(
  folder: string,
  { rounds, seconds, soak }: { readonly rounds: number; readonly seconds: number; readonly soak: readonly string[] },
): Promise<KvmWork> {
  const [system, data] = [join(folder, 'system.img'), join(folder, 'data.img')];
  assembleGuest(folder, system);
  writeFileSync(data, '');
  for (const disk of [system, data]) truncateSync(disk, 1024 * 1024);
  const socket = join(folder, 'nic');
  await using peer = createServer().listen(socket);
  await once(peer, 'listening');
  const connected = once(peer, 'connection');
  const events = new EventStream();
  const refused: SandboxEvent[] = [];
  const reading = (async () => {
    for await (const event of events) if (event.type === 'refusal') refused.push(event);
  })();
  let work: Pick<KvmWork, 'rounds' | 'said' | 'report' | 'kvm'>;
  {
    await using sandbox = await launch({
      command: ['qemu-system-x86_64', ...machine(system, data, socket)],
      // QEMU opens an image of -drive again, only to read, when its device is gone (auto-read-only).
      allow: [
        { request: 'connect', target: `unix:${socket}` },
        ...[system, data].map((path) => ({ request: 'open' as const, target: `${path}:ro` })),
      ],
      features: kvmFeatures,
      soak,
      stdio: ['ignore', 'pipe', 'pipe'],
      deadlineMs: guestMs,
      events,
    });
    const [connection] = (await connected) as [Socket];
    connection.on('error', () => undefined);
    let frames = 0;
    let rest = '';
    let echoed = false;
    connection.on('data', (bytes: Buffer) => {
      const parts = (rest + bytes.toString('latin1')).split(ownAddress);
      frames += parts.length - 1;
      echoed ||= parts.some((part) => part.includes(message));
      rest = parts.at(-1) ?? '';
    });
    const console = new GuestConsole(sandbox.stdout);
    const end = performance.now() + seconds * 1000;
    let done = 0;
    for (; done < rounds || performance.now() < end; done++)
      await console.waitForLine(/round/, guestMs, console.text.length);
    while (frames < done - 1) await once(connection, 'data');
    connection.write(frameOf(message));
    await console.waitForLine(/frame/, guestMs);
    // Sent by the guest after it was on both disks.
    while (!echoed) await once(connection, 'data');
    work = {
      rounds: done,
      said: console.text,
      report: await sandbox.attest(),
      kvm: await sandbox.vmm.qmp.executeAny('query-kvm'),
    };
    connection.destroy();
  }
  await reading;
  const written = [system, data].every((disk) => readFileSync(disk).includes(message, startOfData));
  return { ...work, refused, written };
}

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
