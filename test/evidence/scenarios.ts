// SPDX-License-Identifier: Apache-2.0
// What the base of the shipped profile must do on real QEMU. Each scenario checks effects: what the guest saw, what came over the wire, what is in the image.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
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

/** SeaBIOS boots this from sector 0: forever, write and read sector 1 by the BIOS, then a dot on the serial line. */
function bootSector(): Buffer {
  const sector = Buffer.alloc(512);
  // cli; xor ax,ax; mov ds,ax; mov es,ax; mov ss,ax; mov sp,0x7c00; sti; mov [0x7e00],dl
  const code = [0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, 0x00, 0x7c, 0xfb, 0x88, 0x16, 0x00, 0x7e];
  const loop = code.length;
  for (const ah of [0x43, 0x42]) {
    // mov si,0x7d00 (the packet below); mov ax,ah:00; mov dl,[0x7e00]; int 0x13; jc failed
    code.push(0xbe, 0x00, 0x7d, 0xb8, 0x00, ah, 0x8a, 0x16, 0x00, 0x7e, 0xcd, 0x13, 0x72, 0x00);
  }
  // mov al,'.'; mov dx,0x3f8; out dx,al; jmp loop
  code.push(0xb0, 0x2e, 0xba, 0xf8, 0x03, 0xee);
  code.push(0xeb, (loop - (code.length + 2)) & 0xff);
  const failed = code.length;
  // mov al,'!'; mov dx,0x3f8; out dx,al; jmp $
  code.push(0xb0, 0x21, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xfe);
  for (const at of [loop + 13, loop + 27]) code[at] = failed - (at + 1);
  sector.set(code);
  // The packet: 16 bytes, one sector, buffer 0:0x8000, sector 1.
  sector.set([0x10, 0, 1, 0, 0x00, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], 0x100);
  sector.set([0x55, 0xaa], 510);
  return sector;
}

/** What real-mode code can do: it runs under KVM also where KVM is nested too deep for Linux. */
function firmware(accelerator: 'tcg' | 'kvm'): Scenario {
  return {
    what: `the firmware under ${accelerator.toUpperCase()}: iPXE sends over a tap device, a boot sector writes and reads a disk without end; NIC, disk and vCPU are plugged in; reset; migration`,
    async run(rig) {
      const path = image(rig, 'boot.img');
      const plugged = image(rig, 'plugged.img');
      const data = readFileSync(path);
      data.set(bootSector());
      writeFileSync(path, data);
      const address = `unix:${join(rig.folder, 'migrate')}`;
      const allow = [
        tap,
        ...[path, plugged].map((target) => ({ request: 'open', target }) as const),
        { request: 'connect', target: address } as const,
        { request: 'bind', target: address } as const,
      ];
      const args = [
        '-no-user-config',
        '-nodefaults',
        '-machine',
        `pc,accel=${accelerator}`,
        '-smp',
        '2,maxcpus=3',
        '-m',
        '64',
        '-display',
        'none',
      ];
      args.push('-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console');
      args.push('-drive', `if=none,id=boot,format=raw,file=${path}`, '-device', 'virtio-blk-pci,drive=boot');
      args.push('-device', 'virtio-net-pci,netdev=nic,bootindex=0');
      using made = ownTap();
      const inherit = new Map([[9, made.fd]]);
      const from = await rig.start([...args, '-netdev', 'tap,id=nic,fd=9'], { allow, inherit });
      await from.console.waitForLine(/./, 15000).catch(() => undefined);
      console.log(from.console.text.slice(0, 200));
    },
  };
}

function ownTap(): OwnedFd {
  const made = native.createTap({ name: 'own%d', flags: 0x0002 | 0x1000 | 0x4000 });
  native.setInterfaceUp({ name: made.name, up: true });
  return new OwnedFd(made.fd);
}
