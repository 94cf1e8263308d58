// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { statusField, waitFor } from '../../launch/processes.ts';
import type { Row } from '../row.ts';
import type { Scene } from '../scene.ts';
import { makeImage } from '../support/block.ts';
import { makeCertificates } from '../support/certificates.ts';
import { unplug } from '../support/disk.ts';
import { mustFail } from '../support/must-fail.ts';
import { addPort } from '../support/port.ts';
import { guestMs, type Vm } from '../vm.ts';

const megabyte = 1024 * 1024;

async function totalKilobytes(vm: Vm): Promise<number> {
  return Number(await vm.shell("awk '/MemTotal/{print $2}' /proc/meminfo"));
}

const memory: readonly Row[] = [
  {
    operation: 'memory: virtio-mem',
    way: 'in-process',
    features: ['memory-hotplug'],
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.start('linux');
      const before = await totalKilobytes(vm);
      const size = 256 * megabyte;
      await vm.qmp('object-add', { 'qom-type': 'memory-backend-ram', id: 'ram', size });
      await vm.qmp('device_add', { driver: 'virtio-mem-pci', id: 'vmem', memdev: 'ram', 'requested-size': size });
      const now = "awk '/MemTotal/{print $2}' /proc/meminfo";
      await vm.shellUntil(`[ $(${now}) -gt ${before + 200_000} ] && echo more`, /^more$/);
    },
  },
  {
    operation: 'memory: taken out again',
    way: 'in-process',
    features: ['memory-hotplug'],
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.start('linux');
      const before = await totalKilobytes(vm);
      await vm.qmp('object-add', { 'qom-type': 'memory-backend-ram', id: 'ram', size: 128 * megabyte });
      await vm.qmp('device_add', { driver: 'pc-dimm', id: 'dimm', memdev: 'ram' });
      const now = "awk '/MemTotal/{print $2}' /proc/meminfo";
      await vm.shellUntil(`[ $(${now}) -gt ${before + 100_000} ] && echo more`, /^more$/);
      await unplug(vm, 'dimm');
      await vm.qmp('object-del', { id: 'ram' });
      await vm.shellUntil(`[ $(${now}) -lt ${before + 100_000} ] && echo less`, /^less$/);
    },
  },
  {
    operation: 'shared memory (ivshmem-plain)',
    way: 'transparent',
    features: ['memory-hotplug'],
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.linux();
      const [file, memdev, id] = [makeImage(scene.path(), megabyte), scene.name('shm'), scene.name('ivshmem')];
      const backend = { size: megabyte, share: true, 'mem-path': file };
      await vm.qmp('object-add', { 'qom-type': 'memory-backend-file', id: memdev, ...backend });
      await vm.qmp('device_add', { driver: 'ivshmem-plain', id, memdev });
      const resource = await vm.shellUntil('dirname $(grep -l 0x1110 /sys/bus/pci/devices/*/device)', /^\/sys/);
      // BAR 2 is the memory. The guest has no tool to map it with: that its size is right is what can be seen.
      const [start = '', end = ''] = (await vm.shell(`sed -n 3p ${resource}/resource`)).split(' ');
      if (BigInt(end) - BigInt(start) !== BigInt(megabyte - 1)) throw new Error(`the guest sees ${start} to ${end}`);
      await unplug(vm, id);
      await vm.qmp('object-del', { id: memdev });
    },
  },
];

const given: readonly Row[] = [
  {
    operation: 'virtio-balloon: the host has the memory back',
    way: 'in-process',
    features: ['balloon'],
    longOnly: true,
    run: (scene) => inflateBalloon(scene),
  },
];

/** @throws when the host does not have the guest's memory back. */
export async function inflateBalloon(scene: Scene, ...args: readonly string[]): Promise<void> {
  const vm = await scene.start('linux', { args: [...args, '-device', 'virtio-balloon-pci'] });
  await vm.shell('dd if=/dev/zero of=/tmp/big bs=1M count=80 2>/dev/null; rm /tmp/big');
  const resident = (): number => Number((statusField(vm.sandbox.pid, 'VmRSS') ?? '').replace(/\D/g, ''));
  const full = resident();
  await vm.qmp('balloon', { value: 160 * megabyte });
  await waitFor('less memory of QEMU', () => resident() < full - 40_000, guestMs);
}

const secrets: readonly Row[] = [
  {
    operation: 'secret from a file',
    way: 'transparent',
    run: async (scene) => {
      const vm = await scene.counter();
      const [id, file] = [scene.name('secret'), makeImage(scene.path(), 16)];
      await vm.qmp('object-add', { 'qom-type': 'secret', id, file });
      await vm.qmp('object-del', { id });
      await mustFail(vm.qmp('object-add', { 'qom-type': 'secret', id, file: scene.path() }));
    },
  },
  {
    operation: 'TLS credentials (tls-creds-x509) from their folder',
    way: 'transparent',
    limit: {
      because:
        'QEMU looks for each file by stat(2) first; nobody can answer that for the kernel, and the profile says that there is none',
      instead: '-object tls-creds-x509 on the command line (rows with TLS)',
    },
    run: async (scene) => {
      const vm = await scene.counter();
      const [id, dir] = [scene.name('tls'), scene.path()];
      makeCertificates(dir);
      await mustFail(vm.qmp('object-add', { 'qom-type': 'tls-creds-x509', id, endpoint: 'server', dir }));
    },
  },
];

const others: readonly Row[] = [
  {
    operation: 'virtio-crypto on cryptodev-backend-builtin',
    way: 'in-process',
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.linux();
      const [cryptodev, id] = [scene.name('backend'), scene.name('crypto')];
      await vm.qmp('object-add', { 'qom-type': 'cryptodev-backend-builtin', id: cryptodev });
      await vm.qmp('device_add', { driver: 'virtio-crypto-pci', id, cryptodev });
      await vm.shellUntil('grep -l 0x1054 /sys/bus/pci/devices/*/device', /device$/);
      await unplug(vm, id);
      await vm.qmp('object-del', { id: cryptodev });
    },
  },
  {
    operation: 'virtio console',
    way: 'in-process',
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.linux();
      const [chardev, id] = [scene.name('ring'), scene.name('console')];
      // The bus comes with the first port.
      await vm.qmp('chardev-add', { id: `${chardev}-0`, backend: { type: 'null', data: {} } });
      const port = await addPort(scene, vm, `${chardev}-0`);
      await vm.qmp('chardev-add', { id: chardev, backend: { type: 'ringbuf', data: { size: 256 } } });
      await vm.qmp('device_add', { driver: 'virtconsole', bus: 'ports.0', id, chardev });
      // The guest's own console is hvc0.
      await vm.shellUntil('echo hello >/dev/hvc1 && echo done', /^done$/);
      await vm.until<string & object>('ringbuf-read', (text) => String(text).includes('hello'), {
        device: chardev,
        size: 10,
      });
      await unplug(vm, id);
      await vm.qmp('chardev-remove', { id: chardev });
      await port.remove();
    },
  },
  {
    operation: 'TPM of a swtpm that the machine was started with',
    way: 'in-process',
    features: ['tpm-emulator'],
    longOnly: true,
    missing: () => (existsSync('/usr/bin/swtpm') ? undefined : 'the Debian package swtpm is not installed'),
    run: async (scene) => {
      const [state, socket] = [scene.path(), scene.path()];
      mkdirSync(state);
      const swtpm = spawn(
        'swtpm',
        ['socket', '--tpm2', '--tpmstate', `dir=${state}`, '--ctrl', `type=unixio,path=${socket}`],
        {
          stdio: 'ignore',
        },
      );
      scene.onEnd(async () => {
        swtpm.kill();
        if (swtpm.exitCode === null && swtpm.signalCode === null) await once(swtpm, 'exit');
      });
      await waitFor('swtpm', () => existsSync(socket));
      const vm = await scene.start('linux', {
        args: [
          ...['-chardev', `socket,id=tpm,path=${socket}`, '-tpmdev', 'emulator,id=tpm0,chardev=tpm'],
          ...['-device', 'tpm-tis,tpmdev=tpm0'],
        ],
      });
      // TPM2_GetRandom of 8 bytes: a response of 20 bytes with success in it.
      const command = '\\x80\\x01\\x00\\x00\\x00\\x0c\\x00\\x00\\x01\\x7b\\x00\\x08';
      await vm.shellUntil('ls /dev/tpm0', /^\/dev\/tpm0$/);
      const answer = await vm.shell(
        `exec 3<>/dev/tpm0; printf '${command}' >&3; dd bs=64 count=1 <&3 2>/dev/null | od -An -tx1`,
      );
      if (!/^\s*80 01 00 00 00 14 00 00 00 00 00 08/.test(answer)) throw new Error(`the TPM said ${answer}`);
    },
  },
  {
    operation: 'sound into a file (wavcapture)',
    way: 'transparent',
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.start('counter', {
        args: ['-audiodev', 'none,id=sound', '-device', 'AC97,audiodev=sound'],
      });
      const path = scene.path();
      await vm.hmp(`wavcapture ${path} sound`);
      await vm.hmp('stopcapture 0');
      if (readFileSync(path).subarray(0, 4).toString() !== 'RIFF') throw new Error('there is no sound file');
    },
  },
  {
    operation: 'a folder of the host by 9p (virtfs local)',
    way: 'transparent',
    limit: {
      because: 'QEMU opens, makes and removes files below a folder whenever the guest says so, each by its own call',
      instead: 'virtiofs, whose daemon does that in a process of its own',
    },
    expects: () => true,
    longOnly: true,
    run: async (scene) => {
      const folder = scene.path();
      mkdirSync(join(folder, 'inside'), { recursive: true });
      const vm = await scene.start('linux', {
        args: ['-virtfs', `local,path=${folder},mount_tag=host,security_model=none`],
      });
      await vm.shellUntil('cat /sys/bus/virtio/drivers/*/virtio*/mount_tag 2>&1; ls /sys/bus/virtio/devices', /virtio/);
      await mustFail(vm.shell('mkdir -p /mnt9 && mount -t 9p -o trans=virtio host /mnt9 && ls /mnt9/inside'));
    },
  },
  ...(
    [
      ['vhost-scsi', 'this kernel has no /dev/vhost-scsi'],
      [
        'vhost-user-gpu, -input, -rng, -i2c, -fs of other daemons',
        'Debian 12 has no such daemon but virtiofsd (row "virtiofs")',
      ],
      ['rdma (pvrdma)', 'this machine has no RDMA device'],
      ['can-host-socketcan, input-linux', 'this kernel has no CAN and no /dev/input'],
    ] as const
  ).map(
    ([operation, why]): Row => ({
      operation,
      way: 'transparent',
      missing: () => why,
      run: () => Promise.reject(new Error('not here')),
    }),
  ),
];

export const devicesMore: readonly Row[] = [...memory, ...given, ...secrets, ...others];
