// SPDX-License-Identifier: Apache-2.0
import { existsSync } from 'node:fs';
import type { Row } from '../row.ts';
import {
  addNode,
  attach,
  checkFilled,
  fill,
  makeImage,
  makeQcow2,
  removeNode,
  runJob,
  runNewJob,
} from '../support/block.ts';

const mebibyte = 1024 * 1024;

export const blockJobs: readonly Row[] = [
  {
    operation: 'blockdev-create: a raw file and a qcow2 image in it',
    way: 'transparent',
    features: ['snapshots'],
    run: async (scene) => {
      const vm = await scene.counter();
      const filename = scene.path();
      await runNewJob(vm, 'blockdev-create', { options: { driver: 'file', filename, size: 0 } });
      const file = await addNode(vm, 'file', filename);
      await runNewJob(vm, 'blockdev-create', { options: { driver: 'qcow2', file, size: mebibyte } });
      const node = scene.name('new');
      await vm.qmp('blockdev-add', { driver: 'qcow2', 'node-name': node, file });
      await fill(vm, node, 0xa5);
      await removeNode(vm, node, file);
      checkFilled(filename, 0xa5, 'qcow2');
    },
  },
  {
    operation: 'external snapshot, the overlay made by QEMU',
    way: 'transparent',
    features: ['snapshots'],
    run: async (scene) => {
      const vm = await scene.counter();
      const [base, overlay, top] = [makeQcow2(scene.path()), scene.path(), scene.name('top')];
      const node = await addNode(vm, 'qcow2', base);
      await fill(vm, node, 17);
      const detach = await attach(vm, node);
      await vm.qmp('blockdev-snapshot-sync', {
        'node-name': node,
        'snapshot-file': overlay,
        'snapshot-node-name': top,
        format: 'qcow2',
      });
      await fill(vm, top, 0xa5);
      await detach();
      await removeNode(vm, node);
      checkFilled(base, 17, 'qcow2');
      checkFilled(overlay, 0xa5, 'qcow2');
    },
  },
  {
    operation: 'external snapshot, the overlay made by the launcher',
    way: 'fd',
    features: ['snapshots'],
    run: async (scene) => {
      const vm = await scene.counter();
      const base = makeQcow2(scene.path());
      const node = await addNode(vm, 'qcow2', base);
      const path = scene.path();
      using created = await vm.sandbox.open(path, 'rw', { create: true });
      const { 'fdset-id': set } = await vm.qmp<{ readonly 'fdset-id': number }>('add-fd', {}, [created.fd]);
      const file = await addNode(vm, 'file', `/dev/fdset/${set}`);
      await runNewJob(vm, 'blockdev-create', { options: { driver: 'qcow2', file, size: mebibyte } });
      const overlay = scene.name('overlay');
      await vm.qmp('blockdev-add', { driver: 'qcow2', 'node-name': overlay, file, backing: null });
      await vm.qmp('blockdev-snapshot', { node, overlay });
      await fill(vm, overlay, 0xa5);
      await removeNode(vm, overlay, file, node);
      await vm.qmp('remove-fd', { 'fdset-id': set });
      checkFilled(path, 0xa5, 'qcow2');
    },
  },
  {
    operation: 'commit of an overlay into its base',
    way: 'transparent',
    features: ['block-jobs'],
    run: async (scene) => {
      const vm = await scene.counter();
      const base = makeQcow2(scene.path());
      const top = await addNode(vm, 'qcow2', makeQcow2(scene.path(), base));
      await fill(vm, top, 0xa5);
      await runJob(vm, 'block-commit', { 'job-id': 'commit', device: top });
      await removeNode(vm, top);
      checkFilled(base, 0xa5, 'qcow2');
    },
  },
  {
    operation: 'stream of a base into its overlay',
    way: 'transparent',
    features: ['block-jobs'],
    run: async (scene) => {
      const vm = await scene.counter();
      const base = makeQcow2(scene.path());
      const below = await addNode(vm, 'qcow2', base);
      await fill(vm, below, 17);
      await removeNode(vm, below);
      const overlay = makeQcow2(scene.path(), base);
      const top = await addNode(vm, 'qcow2', overlay);
      await runJob(vm, 'block-stream', { 'job-id': 'stream', device: top });
      await removeNode(vm, top);
      checkFilled(overlay, 17, 'qcow2');
    },
  },
  {
    operation: 'drive-mirror to a file that QEMU makes',
    way: 'transparent',
    features: ['block-jobs'],
    run: async (scene) => {
      const vm = await scene.counter();
      const node = await addNode(vm, 'raw', makeImage(scene.path()));
      await fill(vm, node, 0xa5);
      const detach = await attach(vm, node);
      const target = scene.path();
      const options = { target, sync: 'full', format: 'raw', mode: 'absolute-paths' };
      await runJob(vm, 'drive-mirror', { 'job-id': 'mirror', device: node, 'node-name': scene.name('m'), ...options });
      await detach();
      await removeNode(vm, node);
      checkFilled(target, 0xa5);
    },
  },
  {
    operation: 'blockdev-mirror onto an fdset',
    way: 'fd',
    run: async (scene) => {
      const vm = await scene.counter();
      const node = await addNode(vm, 'raw', makeImage(scene.path()));
      await fill(vm, node, 0xa5);
      const copy = makeImage(scene.path());
      using file = await vm.sandbox.open(copy, 'rw');
      const { 'fdset-id': set } = await vm.qmp<{ readonly 'fdset-id': number }>('add-fd', {}, [file.fd]);
      const target = await addNode(vm, 'raw', `/dev/fdset/${set}`);
      await runJob(vm, 'blockdev-mirror', { 'job-id': 'mirror', device: node, target, sync: 'full' });
      // A mirror that completes puts the target in the source's place.
      await removeNode(vm, target, node);
      await vm.qmp('remove-fd', { 'fdset-id': set });
      checkFilled(copy, 0xa5);
    },
  },
  {
    operation: 'drive-backup to a file that QEMU makes',
    way: 'transparent',
    features: ['block-jobs'],
    run: async (scene) => {
      const vm = await scene.counter();
      const node = await addNode(vm, 'raw', makeImage(scene.path()));
      await fill(vm, node, 0xa5);
      const target = scene.path();
      await runJob(vm, 'drive-backup', { 'job-id': 'backup', device: node, target, sync: 'full', format: 'qcow2' });
      await removeNode(vm, node);
      checkFilled(target, 0xa5, 'qcow2');
    },
  },
  {
    operation: 'incremental backup by a dirty bitmap',
    way: 'transparent',
    features: ['block-jobs'],
    run: async (scene) => {
      const vm = await scene.counter();
      const node = await addNode(vm, 'qcow2', makeQcow2(scene.path()));
      await fill(vm, node, 17);
      await vm.qmp('block-dirty-bitmap-add', { node, name: 'since', persistent: true });
      await fill(vm, node, 0xa5, 65_536);
      const target = scene.path();
      const options = { target, sync: 'incremental', bitmap: 'since', format: 'qcow2' };
      await runJob(vm, 'drive-backup', { 'job-id': 'backup', device: node, ...options });
      await vm.qmp('block-dirty-bitmap-remove', { node, name: 'since' });
      await removeNode(vm, node);
      checkFilled(target, 0xa5, 'qcow2', 65_536);
      checkFilled(target, 0, 'qcow2', 0);
    },
  },
  {
    operation: 'a job is paused, resumed and cancelled',
    way: 'in-process',
    run: async (scene) => {
      const vm = await scene.counter();
      const node = await addNode(vm, 'raw', makeImage(scene.path()));
      const target = await addNode(vm, 'raw', makeImage(scene.path()));
      for (const offset of [0, 1, 2, 3]) await fill(vm, node, 0xa5, offset * 65_536);
      using events = vm.sandbox.vmm.qmp.subscribe(['BLOCK_JOB_CANCELLED']);
      await vm.qmp('blockdev-backup', { 'job-id': 'slow', device: node, target, sync: 'full', speed: 65_536 });
      await vm.qmp('block-job-pause', { device: 'slow' });
      await vm.qmp('block-job-resume', { device: 'slow' });
      await vm.qmp('block-job-cancel', { device: 'slow' });
      await events.next(() => true, 30_000);
      await removeNode(vm, node, target);
    },
  },
  {
    operation: 'FUSE export',
    way: 'transparent',
    limit: {
      because: 'QEMU has libfuse mount the export itself, which starts fusermount3 or calls mount(2)',
      instead: 'an NBD or vhost-user-blk export, or a qemu-storage-daemon of its own that exports by FUSE',
    },
    expects: ({ syscall }) => ['clone', 'fork', 'vfork', 'execve', 'mount', 'open', 'openat'].includes(String(syscall)),
    run: async (scene) => {
      const vm = await scene.counter();
      const node = await addNode(vm, 'raw', makeImage(scene.path()));
      const mountpoint = makeImage(scene.path());
      await vm
        .qmp('block-export-add', { type: 'fuse', id: 'fuse', 'node-name': node, mountpoint, writable: true })
        .then(
          () => Promise.reject(new Error('it was mounted')),
          () => undefined,
        );
      await removeNode(vm, node);
      if (!existsSync(mountpoint)) throw new Error('the mount point is gone');
    },
  },
];
