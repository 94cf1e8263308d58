// SPDX-License-Identifier: Apache-2.0
import { existsSync, writeFileSync } from 'node:fs';
import type { SandboxEvent } from '../../../core/launch/events.ts';
import type { Row } from '../row.ts';
import type { Scene } from '../scene.ts';
import { addNode, checkFilled, makeImage, removeNode, startsWith } from '../support/block.ts';
import { guestDisk, unplug } from '../support/disk.ts';
import { mustFail } from '../support/must-fail.ts';
import { addPort } from '../support/port.ts';
import type { Vm } from '../vm.ts';

const pattern = "tr '\\0' '\\245' </dev/zero";

/** The guest finds the disk, writes to it, and the image has it. */
async function writesTo(vm: Vm, image: string, blockFolder: string): Promise<void> {
  const disk = await guestDisk(vm, blockFolder);
  await vm.shell(`${pattern} | head -c 65536 | dd of=${disk} bs=64k count=1 iflag=fullblock conv=fsync 2>/dev/null`);
  checkFilled(image, 0xa5);
}

const disks: readonly Row[] = [
  {
    operation: 'virtio-blk: image by path',
    way: 'transparent',
    run: async (scene) => {
      const vm = await scene.linux();
      const image = makeImage(scene.path());
      const drive = await addNode(vm, 'raw', image);
      const id = scene.name('disk');
      await vm.qmp('device_add', { driver: 'virtio-blk-pci', id, drive, serial: id });
      await writesTo(vm, image, id);
      await unplug(vm, id);
      await removeNode(vm, drive);
    },
  },
  {
    operation: 'virtio-blk: image opened by the broker (hotplug.addDisk)',
    way: 'fd',
    run: async (scene) => {
      const vm = await scene.linux();
      const image = makeImage(scene.path());
      const { hotplug } = vm.sandbox.vmm;
      const known = await vm.shell('ls /sys/block');
      await hotplug.addDisk({ id: 'disk1', path: image });
      const found = await vm.shellUntil('ls /sys/block', /vd[a-z]/);
      const name = found.split(/\s+/).find((disk) => !known.split(/\s+/).includes(disk));
      await vm.shell(
        `${pattern} | head -c 65536 | dd of=/dev/${name} bs=64k count=1 iflag=fullblock conv=fsync 2>/dev/null`,
      );
      checkFilled(image, 0xa5);
      await hotplug.removeDisk('disk1');
    },
  },
  {
    operation: 'virtio-blk on an iothread that is added too',
    way: 'transparent',
    run: async (scene) => {
      const vm = await scene.linux();
      const image = makeImage(scene.path());
      const drive = await addNode(vm, 'raw', image);
      const [id, iothread] = [scene.name('disk'), scene.name('io')];
      await vm.qmp('object-add', { 'qom-type': 'iothread', id: iothread });
      await vm.qmp('device_add', { driver: 'virtio-blk-pci', id, drive, serial: id, iothread });
      await writesTo(vm, image, id);
      await unplug(vm, id);
      await removeNode(vm, drive);
      await vm.qmp('object-del', { id: iothread });
    },
  },
  {
    operation: 'virtio-blk on an iothread of the command line',
    way: 'transparent',
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.start('linux', { args: ['-object', 'iothread,id=io'] });
      const image = makeImage(scene.path());
      const drive = await addNode(vm, 'raw', image);
      const id = scene.name('disk');
      await vm.qmp('device_add', { driver: 'virtio-blk-pci', id, drive, serial: id, iothread: 'io' });
      await writesTo(vm, image, id);
      await unplug(vm, id);
      await removeNode(vm, drive);
    },
  },
  {
    operation: 'virtio-scsi with a disk and a CD whose medium changes',
    way: 'transparent',
    run: async (scene) => {
      const vm = await scene.linux();
      const image = makeImage(scene.path());
      const drive = await addNode(vm, 'raw', image);
      const [bus, disk, cd] = [scene.name('scsi'), scene.name('disk'), scene.name('cd')];
      await vm.qmp('device_add', { driver: 'virtio-scsi-pci', id: bus });
      await vm.qmp('device_add', { driver: 'scsi-hd', bus: `${bus}.0`, id: disk, drive, serial: disk });
      const name = (await vm.shellUntil('ls /sys/block', /\bsd[a-z]\b/)).match(/\bsd[a-z]\b/)?.[0];
      await vm.shell(
        `${pattern} | head -c 65536 | dd of=/dev/${name} bs=64k count=1 iflag=fullblock conv=fsync 2>/dev/null`,
      );
      checkFilled(image, 0xa5);
      await vm.qmp('device_add', { driver: 'scsi-cd', bus: `${bus}.0`, id: cd });
      await vm.shellUntil('ls /sys/block', /\bsr0\b/);
      const filename = makeImage(scene.path());
      writeFileSync(filename, 'medium', { flag: 'r+' });
      await vm.qmp('blockdev-change-medium', { id: cd, filename, format: 'raw', 'read-only-mode': 'read-only' });
      await vm.shellUntil('head -c 6 /dev/sr0', /^medium$/);
      await vm.qmp('eject', { id: cd, force: true });
      await unplug(vm, cd);
      await unplug(vm, disk);
      await unplug(vm, bus);
      await removeNode(vm, drive);
    },
  },
  {
    operation: 'NVMe',
    way: 'transparent',
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.linux();
      const image = makeImage(scene.path());
      const drive = await addNode(vm, 'raw', image);
      const id = scene.name('nvme');
      await vm.qmp('device_add', { driver: 'nvme', id, drive, serial: id });
      await vm.shellUntil('ls /dev/nvme*n1', /^\/dev\/nvme\d+n1$/);
      const disk = await vm.shell('ls /dev/nvme*n1');
      await vm.shell(
        `${pattern} | head -c 65536 | dd of=${disk} bs=64k count=1 iflag=fullblock conv=fsync 2>/dev/null`,
      );
      checkFilled(image, 0xa5);
      await unplug(vm, id);
      await removeNode(vm, drive);
    },
  },
  {
    operation: 'USB storage',
    way: 'transparent',
    run: async (scene) => {
      const vm = await scene.counter();
      const drive = await addNode(vm, 'raw', makeImage(scene.path()));
      const id = scene.name('stick');
      // Debian's cloud kernel has no USB; the controller's side is looked at.
      await vm.qmp('device_add', { driver: 'usb-storage', id, drive });
      await vm.hmp('info usb', /Product QEMU USB MSD/);
      await unplug(vm, id);
      await removeNode(vm, drive);
    },
  },
];

interface HotpluggableCpu {
  readonly type: string;
  readonly props: Readonly<Record<string, number>>;
  readonly 'qom-path'?: string;
}

const bringOnline = 'for cpu in /sys/devices/system/cpu/cpu*/online; do echo 1 >$cpu; done; nproc';

const processorsAndMemory: readonly Row[] = [
  {
    operation: 'vCPU',
    way: 'in-process',
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.start('linux');
      await vm.guestGoesOn();
      const all = await vm.qmp<readonly HotpluggableCpu[]>('query-hotpluggable-cpus');
      const free = all.find((cpu) => cpu['qom-path'] === undefined);
      await vm.qmp('device_add', { driver: free?.type, id: 'cpu1', ...free?.props });
      await vm.shellUntil(bringOnline, /^2$/);
    },
  },
  {
    operation: "vCPU, with its role's filter (hotplug.addCpu)",
    way: 'in-process',
    untraced: true,
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.start('linux');
      await vm.sandbox.vmm.hotplug.addCpu();
      await vm.shellUntil(bringOnline, /^2$/);
    },
  },
  ...(
    [
      ['memory-backend-ram', {}],
      ['memory-backend-memfd', { share: true }],
      ['memory-backend-file', { share: true }],
    ] as const
  ).map(
    ([type, options]): Row => ({
      operation: `memory: ${type}`,
      way: type === 'memory-backend-file' ? 'transparent' : 'in-process',
      features: ['memory-hotplug'],
      run: async (scene) => {
        const vm = await scene.linux();
        const [memory, dimm] = [scene.name('memory'), scene.name('dimm')];
        const before = await memoryOf(vm);
        const size = 128 * 1024 * 1024;
        const file = type === 'memory-backend-file' ? { 'mem-path': makeImage(scene.path(), size) } : {};
        await vm.qmp('object-add', { 'qom-type': type, id: memory, size, ...options, ...file });
        await vm.qmp('device_add', { driver: 'pc-dimm', id: dimm, memdev: memory });
        await vm.shellUntil(
          `[ $(awk '/MemTotal/{print $2}' /proc/meminfo) -gt ${before + 100_000} ] && echo more`,
          /^more$/,
        );
      },
    }),
  ),
  {
    operation: 'virtio-balloon',
    way: 'in-process',
    run: async (scene) => {
      const vm = await scene.linux();
      const id = scene.name('balloon');
      await vm.qmp('device_add', { driver: 'virtio-balloon-pci', id });
      const full = (await vm.qmp<{ readonly actual: number }>('query-balloon')).actual;
      const less = full - 32 * 1024 * 1024;
      await vm.qmp('balloon', { value: less });
      await vm.until<{ readonly actual: number }>('query-balloon', ({ actual }) => actual === less);
      await vm.qmp('balloon', { value: full });
      await vm.until<{ readonly actual: number }>('query-balloon', ({ actual }) => actual === full);
      await unplug(vm, id);
    },
  },
];

const others: readonly Row[] = [
  ...(
    [
      ['rng-builtin', {}, 'in-process'],
      ['rng-random', { filename: '/dev/urandom' }, 'transparent'],
    ] as const
  ).map(
    ([type, options, way]): Row => ({
      operation: `virtio-rng on ${type}`,
      way,
      run: async (scene) => {
        const vm = await scene.linux();
        const [rng, id] = [scene.name('source'), scene.name('rng')];
        await vm.qmp('object-add', { 'qom-type': type, id: rng, ...options });
        await vm.qmp('device_add', { driver: 'virtio-rng-pci', id, rng });
        await vm.shellUntil('head -c 8 /dev/hwrng | wc -c', /^8$/);
        await unplug(vm, id);
        await vm.qmp('object-del', { id: rng });
      },
    }),
  ),
  {
    operation: 'virtio-serial port',
    way: 'in-process',
    run: async (scene) => {
      const vm = await scene.linux();
      const chardev = scene.name('ring');
      await vm.qmp('chardev-add', { id: chardev, backend: { type: 'ringbuf', data: { size: 256 } } });
      const port = await addPort(scene, vm, chardev);
      await vm.shell(`echo hello >${port.path}`);
      await vm.until<string & object>('ringbuf-read', (text) => String(text).includes('hello'), {
        device: chardev,
        size: 10,
      });
      await port.remove();
    },
  },
  {
    operation: 'virtio keyboard, and a key',
    way: 'in-process',
    run: async (scene) => {
      const vm = await scene.linux();
      const known = (await vm.shell('ls /dev/input || true')).split(/\s+/);
      const id = scene.name('keyboard');
      await vm.qmp('device_add', { driver: 'virtio-keyboard-pci', id });
      await vm.shellUntil('grep -l "QEMU Virtio Keyboard" /sys/class/input/event*/device/name', /name$/);
      const found = (await vm.shell('ls /dev/input')).split(/\s+/).find((name) => !known.includes(name));
      await vm.shell(`head -c 24 /dev/input/${found} >/tmp/key &`);
      const key = { type: 'qcode', data: 'a' };
      await vm.qmp('input-send-event', { events: [{ type: 'key', data: { down: true, key } }] });
      await vm.shellUntil('wc -c </tmp/key', /^24$/);
      await unplug(vm, id);
    },
  },
  {
    operation: 'virtio-gpu',
    way: 'in-process',
    limit: { because: 'QEMU has no hotplug of GPUs', instead: 'one that the machine is started with (next row)' },
    expects: loadsModule,
    run: async (scene) => {
      const vm = await scene.counter();
      await mustFail(vm.qmp('device_add', { driver: 'virtio-gpu-pci', id: 'gpu' }));
    },
  },
  {
    operation: 'virtio-gpu that the machine was started with: its picture',
    way: 'transparent',
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.start('counter', { args: ['-device', 'virtio-gpu-pci,id=gpu0'] });
      const filename = scene.path();
      await vm.qmp('screendump', { filename, device: 'gpu0' });
      if (!startsWith(filename, 'P6')) throw new Error('there is no picture');
    },
  },
  {
    operation: 'a device from a module of QEMU (usb-redir)',
    way: 'in-process',
    limit: {
      because: 'QEMU loads the code of the module when the first such device is made; no code is loaded in this stage',
      instead:
        'start the machine with a device of the module, or ask for its properties before (device-list-properties)',
    },
    expects: loadsModule,
    run: async (scene) => {
      const vm = await scene.counter();
      await vm.qmp('chardev-add', { id: 'redir', backend: { type: 'null', data: {} } });
      await mustFail(vm.qmp('device_add', { driver: 'usb-redir', id: 'redir', chardev: 'redir' }));
      await vm.qmp('chardev-remove', { id: 'redir' });
    },
  },
  {
    operation: 'usb-host',
    way: 'transparent',
    features: ['usb-host'],
    missing: () => (existsSync('/dev/bus/usb') ? undefined : 'this machine has no USB'),
    run: () => Promise.reject(new Error('no device to try')),
  },
  {
    operation: 'vhost-vsock',
    way: 'fd',
    features: ['vhost-vsock'],
    missing: () => (existsSync('/dev/vhost-vsock') ? undefined : 'this kernel has no /dev/vhost-vsock'),
    run: async (scene: Scene) => {
      const vm = await scene.start('linux', { allow: [{ request: 'open', target: '/dev/vhost-vsock' }] });
      using vhost = await vm.sandbox.open('/dev/vhost-vsock', 'rw');
      await vm.qmp('getfd', { fdname: 'vhost' }, [vhost.fd]);
      await vm.qmp('device_add', { driver: 'vhost-vsock-pci', id: 'vsock', 'guest-cid': 77, vhostfd: 'vhost' });
      await vm.shellUntil('ls /dev/vsock', /vsock/);
    },
  },
  {
    operation: 'vfio-pci',
    way: 'transparent',
    features: ['vfio'],
    missing: () => (existsSync('/dev/vfio') ? undefined : 'this machine has no IOMMU and no /dev/vfio'),
    run: () => Promise.reject(new Error('no device to try')),
  },
  {
    operation: 'TPM',
    way: 'in-process',
    limit: { because: 'QEMU has no hotplug of TPMs', instead: 'one that the machine is started with' },
    run: async (scene) => {
      const vm = await scene.counter();
      await mustFail(vm.qmp('device_add', { driver: 'tpm-tis', id: 'tpm' }));
    },
  },
];

function loadsModule({ syscall }: SandboxEvent): boolean {
  return ['openat', 'open', 'access', 'newfstatat'].includes(String(syscall));
}

async function memoryOf(vm: Vm): Promise<number> {
  return Number(await vm.shell("awk '/MemTotal/{print $2}' /proc/meminfo"));
}

export const devices: readonly Row[] = [...disks, ...processorsAndMemory, ...others];
