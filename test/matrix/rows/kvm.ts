// SPDX-License-Identifier: Apache-2.0
// The same under KVM, with a guest in real mode: that runs also where KVM is nested too deep for Linux.
import { accessSync, constants } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Row } from '../row.ts';
import { addNode, attach, fill, makeImage, makeQcow2 } from '../support/block.ts';
import {
  configure,
  hasArrived,
  incomingByFd,
  lastCount,
  moveBy,
  startPair,
  untilMigration,
} from '../support/migrate.ts';
import { giveSockets } from './migration-fd.ts';

export const missingKvm = (): string | undefined => {
  try {
    accessSync('/dev/kvm', constants.W_OK);
    return undefined;
  } catch {
    return 'this machine has no /dev/kvm';
  }
};

const accelerator = 'kvm';
const multifd = { capabilities: ['multifd'], parameters: { 'multifd-channels': 4 } } as const;

const moves: readonly Row[] = (
  [
    ['migration: tcp', 'tcp', {}],
    ['migration: multifd, unix', 'unix', multifd],
  ] as const
).map(
  ([operation, kind, settings]): Row => ({
    operation,
    way: 'transparent',
    missing: missingKvm,
    run: async (scene) => {
      const uri = kind === 'tcp' ? 'tcp:127.0.0.1:4444' : `unix:${scene.path()}`;
      await moveBy(await startPair(scene, { accelerator }), uri, settings);
    },
  }),
);

export const kvm: readonly Row[] = [
  {
    operation: 'a guest with timer, serial line and memory: stop, cont, reset',
    way: 'in-process',
    missing: missingKvm,
    run: async (scene) => {
      const vm = await scene.start('counter', { accelerator });
      const first = await vm.guestGoesOn();
      await vm.qmp('stop');
      await vm.qmp('cont');
      await delay(scene.workSeconds * 1000);
      const before = await vm.guestGoesOn();
      if (before <= first) throw new Error('the guest stands still');
      await vm.qmp('system_reset');
      if ((await vm.guestGoesOn()) >= before) throw new Error('the guest did not start again');
    },
  },
  ...moves,
  {
    operation: 'migration: sockets of the broker',
    way: 'fd',
    missing: missingKvm,
    longOnly: true,
    run: async (scene) => {
      const pair = await startPair(scene, { accelerator });
      await configure(pair.source, {});
      await configure(pair.destination, {});
      await giveSockets(scene, pair);
      await pair.destination.qmp('migrate-incoming', incomingByFd('in'));
      await untilMigration(pair.source, () => pair.source.qmp('migrate', { uri: 'fd:out' }), ['completed']);
      await hasArrived(pair);
    },
  },
  {
    operation: 'NIC and disk (hotplug)',
    way: 'fd',
    missing: missingKvm,
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.start('counter', { accelerator });
      const { hotplug } = vm.sandbox.vmm;
      const { tap } = await hotplug.addNic({ id: 'nic', tap: 'matrix%d' });
      if (tap === undefined) throw new Error('no tap');
      await hotplug.addDisk({ id: 'disk', path: makeImage(scene.path()) });
      await vm.hmp('info pci', /Ethernet controller[\s\S]*SCSI controller/);
    },
  },
  {
    operation: "vCPU, with its role's filter (hotplug.addCpu)",
    way: 'in-process',
    missing: missingKvm,
    untraced: true,
    run: async (scene) => {
      const vm = await scene.start('counter', { accelerator, args: ['-smp', '1,maxcpus=2'] });
      await vm.sandbox.vmm.hotplug.addCpu();
      const cpus = await vm.qmp<readonly unknown[]>('query-cpus-fast');
      if (cpus.length !== 2) throw new Error(`${cpus.length} vCPUs`);
      await vm.guestGoesOn();
    },
  },
  {
    operation: 'savevm and loadvm',
    way: 'in-process',
    features: ['snapshots'],
    missing: missingKvm,
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.start('counter', { accelerator });
      const node = await addNode(vm, 'qcow2', makeQcow2(scene.path()));
      await attach(vm, node);
      await fill(vm, node, 17);
      await vm.hmp('savevm one');
      const saved = lastCount(vm);
      while (lastCount(vm) < saved + 100) await vm.guestGoesOn();
      const later = lastCount(vm);
      await vm.hmp('loadvm one');
      await vm.sandbox.vmm.cont();
      if ((await vm.guestGoesOn()) >= later) throw new Error('the guest was not taken back');
    },
  },
];
