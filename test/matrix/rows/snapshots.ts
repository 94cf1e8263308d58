// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import type { Row } from '../row.ts';
import type { Scene } from '../scene.ts';
import { addNode, attach, checkFilled, fill, makeQcow2, removeNode, runNewJob } from '../support/block.ts';
import { lastCount } from '../support/migrate.ts';
import type { Vm } from '../vm.ts';

interface Prepared {
  readonly vm: Vm;
  readonly image: string;
  readonly node: string;
}

/** A machine with a qcow2 disk, which holds the machine's state too. */
async function prepare(scene: Scene): Promise<Prepared> {
  const vm = await scene.start('counter');
  const image = makeQcow2(scene.path());
  const node = await addNode(vm, 'qcow2', image);
  await attach(vm, node);
  return { vm, image, node };
}

/** Saves, lets the guest go on and the disk change, loads: both are as they were. */
async function thereAndBack({ vm, image, node }: Prepared, save: () => Promise<unknown>, load: () => Promise<unknown>) {
  await fill(vm, node, 17);
  await save();
  const saved = lastCount(vm);
  while (lastCount(vm) < saved + 100) await vm.guestGoesOn();
  const later = lastCount(vm);
  await fill(vm, node, 0xa5);
  await load();
  await vm.sandbox.vmm.cont();
  const loaded = await vm.guestGoesOn();
  if (loaded >= later) throw new Error(`the guest was saved at ${saved}, went to ${later}, and is at ${loaded}`);
  await vm.qmp('stop');
  await vm.hmp(`qemu-io ${node} "flush"`);
  checkFilled(image, 17, 'qcow2');
  await vm.qmp('cont');
}

export const snapshots: readonly Row[] = [
  {
    operation: 'savevm and loadvm',
    way: 'in-process',
    features: ['snapshots'],
    run: async (scene) => {
      const prepared = await prepare(scene);
      const { vm } = prepared;
      await thereAndBack(
        prepared,
        () => vm.hmp('savevm one'),
        () => vm.hmp('loadvm one'),
      );
      await vm.hmp('delvm one');
    },
  },
  {
    operation: 'snapshot-save, snapshot-load and snapshot-delete',
    way: 'in-process',
    features: ['snapshots'],
    longOnly: true,
    run: async (scene) => {
      const prepared = await prepare(scene);
      const { vm, node } = prepared;
      const args = { tag: 'one', devices: [node] };
      await thereAndBack(
        prepared,
        () => runNewJob(vm, 'snapshot-save', { ...args, vmstate: node }),
        () => runNewJob(vm, 'snapshot-load', { ...args, vmstate: node }),
      );
      await runNewJob(vm, 'snapshot-delete', args);
    },
  },
  {
    operation: 'internal snapshot of a disk',
    way: 'in-process',
    features: ['snapshots'],
    run: async (scene) => {
      const vm = await scene.counter();
      const image = makeQcow2(scene.path());
      const node = await addNode(vm, 'qcow2', image);
      await fill(vm, node, 17);
      await vm.qmp('blockdev-snapshot-internal-sync', { device: node, name: 'one' });
      const listed = execFileSync('qemu-img', ['snapshot', '-U', '-l', image], { encoding: 'utf8' });
      if (!listed.includes('one')) throw new Error(`the image has ${listed}`);
      await vm.qmp('blockdev-snapshot-delete-internal-sync', { device: node, name: 'one' });
      await removeNode(vm, node);
    },
  },
];
