// SPDX-License-Identifier: Apache-2.0
// What the base of the shipped profile must do on real QEMU. Each scenario checks effects: what the guest saw, what came over the wire, what is in the image.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as passed } from 'node:timers/promises';
import { diskText } from '../../core/demo/demo-disk.ts';
import { buildGuest, type Guest, guestArguments } from '../../core/demo/guest.ts';
import { guestAddress, guestMark } from '../../core/demo/guest-init.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import { native } from '../../native/index.ts';
import { packagePath } from '../../native/package-path.ts';
import type { Machine, Rig } from './rig.ts';

export interface Scenario {
  readonly what: string;
  run(rig: Rig, deadlineMs: number): Promise<void>;
}

const hostAddress = '192.0.2.1';
const mac = '52:54:00:00:00:05';

async function guest(): Promise<Guest> {
  return await buildGuest({ cacheFolder: packagePath('.cache') });
}

/** The guest with load, and a reboot that is one. */
async function machine(more: readonly string[] = []): Promise<readonly string[]> {
  const args = guestArguments(await guest())
    .filter((arg) => arg !== '-no-reboot')
    .map((arg) => (arg.startsWith('console=ttyS0') ? `${arg} load=yes` : arg));
  return [...args, ...more];
}

function image(rig: Rig, name: string): string {
  const path = join(rig.folder, name);
  const data = Buffer.alloc(4 << 20);
  data.write(`${diskText}\n`);
  writeFileSync(path, data);
  return path;
}

async function ping(): Promise<void> {
  const child = spawn('busybox', ['ping', '-c', '20', '-i', '0.02', '-W', '10', guestAddress], { stdio: 'ignore' });
  const [status] = await once(child, 'close');
  if (status !== 0) throw new Error('the guest does not answer a ping');
}

async function addressOf(tap: string): Promise<void> {
  const child = spawn('ip', ['address', 'add', `${hostAddress}/24`, 'dev', tap], { stdio: 'inherit' });
  const [status] = await once(child, 'close');
  if (status !== 0) throw new Error(`no address for ${tap}`);
}

async function plug({ sandbox, console }: Machine, path: string, ms: number): Promise<void> {
  const { tap } = await sandbox.vmm.hotplug.addNic({ id: 'nic1', tap: 'rt%d', mac, pciAddress: '05' });
  await addressOf(tap ?? '');
  await console.waitForLine(/ratchet-guest: nic eth0/, ms);
  await sandbox.vmm.hotplug.addDisk({ id: 'disk1', path, pciAddress: '06' });
  await console.waitForLine(/ratchet-guest: disk-wrote/, ms);
}

const tap = { request: 'tap', target: 'rt*' } as const;

/** Some rounds of disk and network I/O from now on. */
async function rounds({ console }: Machine, count: number, ms: number): Promise<void> {
  let at = console.text.length;
  for (let done = 0; done < count; done++) {
    await console.waitForLine(/ratchet-guest: round/, ms, at);
    at = console.text.length;
  }
}

export const scenarios: Readonly<Record<string, Scenario>> = {
  guest: {
    what: 'Linux boots under TCG and hears its serial line; a NIC and a disk are plugged in, used and pulled out; stop, cont, reset',
    async run(rig, ms) {
      const path = image(rig, 'disk.img');
      const vm = await rig.start(await machine(), { allow: [tap, { request: 'open', target: path }] });
      await vm.console.waitForLine(/ratchet-guest: tick/, ms);
      vm.sandbox.stdin.write('hello\n');
      await vm.console.waitForLine(/ratchet-guest: heard hello/, ms);
      await plug(vm, path, ms);
      await rounds(vm, 3, ms);
      await ping();
      await vm.sandbox.vmm.stop();
      await vm.sandbox.vmm.cont();
      await rounds(vm, 1, ms);
      await vm.sandbox.vmm.hotplug.removeNic('nic1');
      await vm.console.waitForLine(/ratchet-guest: nic-gone/, ms);
      await vm.sandbox.vmm.hotplug.removeDisk('disk1');
      await vm.console.waitForLine(/ratchet-guest: disk-gone/, ms);
      if (!readFileSync(path).includes(guestMark)) throw new Error('what the guest wrote is not in the image');
      const at = vm.console.text.length;
      await vm.sandbox.vmm.qmp.executeAny('system_reset', {});
      await vm.console.waitForLine(/ratchet-guest: up/, ms, at);
      await rig.noteRoles();
    },
  },
  migration: {
    what: 'a guest with a disk migrates over a TCP address, over four channels, and by descriptor; each machine sends and receives; one migration is given up',
    async run(rig, ms) {
      const path = image(rig, 'disk.img');
      const port = 4500;
      const addresses = ['tcp:127.0.0.1:4500', 'tcp:127.0.0.1:4501', `unix:${join(rig.folder, 'migrate')}`];
      const allow = [
        tap,
        { request: 'open', target: path } as const,
        ...addresses.flatMap((target) => [
          { request: 'connect', target } as const,
          { request: 'bind', target } as const,
        ]),
      ];
      const args = guestArguments(await guest());
      let from = await rig.start(args, { allow });
      await from.console.waitForLine(/ratchet-guest: tick/, ms);
      await from.sandbox.vmm.hotplug.addDisk({ id: 'disk1', path, pciAddress: '06' });
      await from.console.waitForLine(/ratchet-guest: disk-wrote/, ms);
      for (const [index, channels] of [0, 4, 1].entries()) {
        const to = await rig.start([...args, '-incoming', channels === 0 ? `tcp:127.0.0.1:${port}` : 'defer'], {
          allow,
        });
        const address = addresses[index] ?? '';
        await to.sandbox.vmm.hotplug.addDisk({ id: 'disk1', path, pciAddress: '06' });
        if (channels === 0) {
          await from.sandbox.vmm.qmp.executeAny('migrate', { uri: address });
          await to.sandbox.vmm.contWhenArrived(ms);
        } else {
          const incoming = await to.sandbox.vmm.acceptMigration(address, { channels });
          await from.sandbox.vmm.migrate(address, { channels });
          await incoming.completed;
        }
        await to.console.waitForLine(/^ratchet-guest: tick \d+$/, ms, to.console.text.indexOf('\n') + 1);
        await rig.noteRoles();
        await from.sandbox.close();
        from = to;
      }
    },
  },
  firmware: firmware('tcg'),
  kvm: firmware('kvm'),
};

/**
 * SeaBIOS boots this from sector 0. It writes and reads sector 1 by the BIOS 200 times, with a line "d" on the serial port each time ("e" when the BIOS
 * fails), and gives way to the next boot device, which is the network.
 */
function bootSector(): Buffer {
  const sector = Buffer.alloc(512);
  // xor ax,ax; mov ds,ax; mov es,ax; mov [0x7e00],dl; mov word [0x7e02],200
  const code = [0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x88, 0x16, 0x00, 0x7e, 0xc7, 0x06, 0x02, 0x7e, 200, 0];
  const round = code.length;
  const jumps: number[] = [];
  for (const service of [0x43, 0x42]) {
    // mov si,packet; mov ax,service<<8; mov dl,[0x7e00]; int 0x13; jc failed
    code.push(0xbe, 0x00, 0x7d, 0xb8, 0x00, service, 0x8a, 0x16, 0x00, 0x7e, 0xcd, 0x13, 0x72, 0x00);
    jumps.push(code.length - 1);
  }
  // mov dx,0x3f8; mov al,'d'; out dx,al; mov al,'\n'; out dx,al; dec word [0x7e02]
  code.push(0xba, 0xf8, 0x03, 0xb0, 0x64, 0xee, 0xb0, 0x0a, 0xee, 0xff, 0x0e, 0x02, 0x7e);
  // jnz round; int 0x18
  code.push(0x75, (round - (code.length + 2)) & 0xff, 0xcd, 0x18);
  const failed = code.length;
  // mov dx,0x3f8; mov al,'e'; out dx,al; mov al,'\n'; out dx,al; hlt
  code.push(0xba, 0xf8, 0x03, 0xb0, 0x65, 0xee, 0xb0, 0x0a, 0xee, 0xf4);
  for (const at of jumps) code[at] = failed - (at + 1);
  sector.set(code);
  // The packet, at 0x7d00: 16 bytes long, one sector, buffer 0:0x8000, sector 1.
  sector.set([0x10, 0, 1, 0, 0x00, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], 0x100);
  sector.set([0x55, 0xaa], 510);
  return sector;
}

/** What real-mode code can do: it runs under KVM also where KVM is nested too deep for Linux. */
function firmware(accelerator: 'tcg' | 'kvm'): Scenario {
  return {
    what: `the firmware under ${accelerator.toUpperCase()}: a boot sector writes and reads a disk, iPXE sends on a tap device; reset; NIC and disk are plugged in; migration by descriptor and over four channels`,
    async run(rig, ms) {
      const path = image(rig, 'boot.img');
      const plugged = image(rig, 'plugged.img');
      const data = readFileSync(path);
      data.set(bootSector());
      writeFileSync(path, data);
      const addresses = [0, 1].map((index) => `unix:${join(rig.folder, `migrate${index}`)}`);
      const allow = [
        tap,
        { request: 'open', target: plugged } as const,
        ...addresses.flatMap((target) => [
          { request: 'connect', target } as const,
          { request: 'bind', target } as const,
        ]),
      ];
      const args = `-no-user-config -nodefaults -machine pc,accel=${accelerator} -smp 2 -m 64 -display none
        -chardev stdio,id=console,signal=off -serial chardev:console
        -drive if=none,id=boot,format=raw,file=${path} -device virtio-blk-pci,drive=boot,bootindex=0
        -netdev tap,id=nic,fd=9 -device virtio-net-pci,netdev=nic,bootindex=1`.split(/\s+/);
      using made = ownTap();
      const inherit = new Map([[9, made.fd.fd]]);
      let from = await rig.start(args, { allow, inherit });
      await from.console.waitForLine(/^d$/, ms);
      await until('a packet of iPXE', ms, () => sentBy(made.name) > 0);
      await from.sandbox.vmm.qmp.executeAny('system_reset', {});
      await from.console.waitForLine(/^d$/, ms, from.console.text.length);
      await from.sandbox.vmm.hotplug.addNic({ id: 'nic1', tap: 'rt%d', mac, pciAddress: '10' });
      await from.sandbox.vmm.hotplug.addDisk({ id: 'disk1', path: plugged, pciAddress: '11' });
      for (const [index, channels] of [1, 4].entries()) {
        using other = ownTap();
        const more = { allow, inherit: new Map([[9, other.fd.fd]]) };
        const to = await rig.start([...args, '-incoming', 'defer'], more);
        await to.sandbox.vmm.hotplug.addNic({ id: 'nic1', tap: 'rt%d', mac, pciAddress: '10' });
        await to.sandbox.vmm.hotplug.addDisk({ id: 'disk1', path: plugged, pciAddress: '11' });
        const address = addresses[index] ?? '';
        const incoming = await to.sandbox.vmm.acceptMigration(address, { channels });
        await from.sandbox.vmm.migrate(address, { channels });
        await incoming.completed;
        await rig.noteRoles();
        const { running } = await to.sandbox.vmm.status();
        if (!running) throw new Error('the guest does not run where it arrived');
        await from.sandbox.close();
        from = to;
      }
      await from.sandbox.vmm.qmp.executeAny('system_reset', {});
      await from.console.waitForLine(/^d$/, ms, from.console.text.length);
    },
  };
}

async function until(what: string, ms: number, holds: () => boolean): Promise<void> {
  const end = performance.now() + ms;
  while (!holds()) {
    if (performance.now() > end) throw new Error(`${what} did not come`);
    await passed(20);
  }
}

/** /sys shows the interfaces of the namespace that it was mounted in; /proc/net those of the reader. */
function sentBy(tapName: string): number {
  const line = readFileSync('/proc/self/net/dev', 'utf8')
    .split('\n')
    .find((each) => each.trim().startsWith(`${tapName}:`));
  return Number(line?.split(':')[1]?.trim().split(/\s+/)[1] ?? 0);
}

function ownTap(): Disposable & { readonly fd: OwnedFd; readonly name: string } {
  const made = native.createTap({ name: 'own%d', flags: 0x0002 | 0x1000 | 0x4000 });
  native.setInterfaceUp({ name: made.name, up: true });
  const fd = new OwnedFd(made.fd);
  return { fd, name: made.name, [Symbol.dispose]: () => fd.close() };
}
