// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { ringsOfItsOwn } from '../qemu-version.ts';
import type { Row } from '../row.ts';
import { addNode, checkFilled, fill, makeImage, makeQcow2, removeNode, runJob, runNewJob } from '../support/block.ts';

const direct = { cache: { direct: true } } as const;

const backends: readonly Row[] = (
  [
    ['raw image', 'raw', [], {}],
    ['raw image, aio=threads, without the page cache', 'raw', [], { aio: 'threads', ...direct }],
    ['raw image, aio=native', 'raw', ['aio-native'], { aio: 'native', ...direct }],
    ['raw image, aio=io_uring', 'raw', ['io-uring'], { aio: 'io_uring' }],
    ['qcow2 image', 'qcow2', [], {}],
  ] as const
).map(
  ([operation, driver, features, file]): Row => ({
    operation,
    way: 'transparent',
    features,
    ...(operation.includes('io_uring') ? { missing: ringsOfItsOwn } : {}),
    run: async (scene) => {
      const vm = await scene.counter();
      const image = driver === 'raw' ? makeImage(scene.path()) : makeQcow2(scene.path());
      const node = await addNode(vm, driver, image, { file });
      await fill(vm, node, 0xa5);
      await removeNode(vm, node);
      checkFilled(image, 0xa5, driver);
    },
  }),
);

export const block: readonly Row[] = [
  ...backends,
  {
    operation: 'raw image in an fdset',
    way: 'fd',
    run: async (scene) => {
      const vm = await scene.counter();
      const image = makeImage(scene.path());
      using file = await vm.sandbox.open(image, 'rw');
      const { 'fdset-id': set } = await vm.qmp<{ readonly 'fdset-id': number }>('add-fd', {}, [file.fd]);
      const node = await addNode(vm, 'raw', `/dev/fdset/${set}`);
      await fill(vm, node, 0xa5);
      await removeNode(vm, node);
      await vm.qmp('remove-fd', { 'fdset-id': set });
      checkFilled(image, 0xa5);
    },
  },
  {
    operation: 'qcow2 image with a backing file that its header names',
    way: 'transparent',
    run: async (scene) => {
      const vm = await scene.counter();
      const base = makeQcow2(scene.path());
      execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write -P 17 0 64k', base]);
      const top = makeQcow2(scene.path(), base);
      const node = await addNode(vm, 'qcow2', top);
      await fill(vm, node, 0xa5, 65_536);
      // Reads through to the base, and takes the rest along.
      const copy = makeImage(scene.path());
      const target = await addNode(vm, 'raw', copy);
      await runJob(vm, 'blockdev-backup', { 'job-id': 'b', device: node, target, sync: 'full' });
      await removeNode(vm, node, target);
      checkFilled(copy, 17);
      checkFilled(copy, 0xa5, 'raw', 65_536);
    },
  },
  {
    operation: 'reopened for writing',
    way: 'transparent',
    run: async (scene) => {
      const vm = await scene.counter();
      const image = makeImage(scene.path());
      const file = await addNode(vm, 'file', image, { 'read-only': true });
      const options = { driver: 'file', 'node-name': file, filename: image, 'read-only': false };
      await vm.qmp('blockdev-reopen', { options: [options] });
      await fill(vm, file, 0xa5);
      await removeNode(vm, file);
      checkFilled(image, 0xa5);
    },
  },
  {
    operation: 'LUKS image, made and opened',
    way: 'transparent',
    features: ['luks'],
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.counter();
      const image = makeImage(scene.path(), 4 * 1024 * 1024);
      const secret = scene.name('secret');
      await vm.qmp('object-add', { 'qom-type': 'secret', id: secret, data: 'open sesame' });
      const file = await addNode(vm, 'file', image);
      const key = { 'key-secret': secret, 'iter-time': 10 };
      const options = { driver: 'luks', file, size: 1024 * 1024, ...key };
      // QEMU measures its processor time in ticks of the kernel, and gives up when a hash takes less than one.
      for (let tries = 1; ; tries++) {
        const failure = await runNewJob(vm, 'blockdev-create', { options }).then(
          () => undefined,
          (error: unknown) => error,
        );
        if (failure === undefined) break;
        if (tries === 20 || !String(failure).includes('accurate CPU usage')) throw failure;
      }
      const node = scene.name('luks');
      await vm.qmp('blockdev-add', { driver: 'luks', 'node-name': node, file, 'key-secret': secret });
      await fill(vm, node, 0xa5);
      await removeNode(vm, node, file);
      await vm.qmp('object-del', { id: secret });
      const opened = [`driver=luks,key-secret=s,file.filename=${image}`, '-c', 'read -P 165 0 64k'];
      const said = execFileSync('qemu-io', ['--object', 'secret,id=s,data=open sesame', '--image-opts', ...opened], {
        encoding: 'utf8',
      });
      if (!said.includes('read 65536/65536') || /failed/.test(said)) throw new Error(said);
    },
  },
  {
    operation: 'limits on I/O (throttle group)',
    way: 'in-process',
    run: async (scene) => {
      const vm = await scene.counter();
      const [group, node] = [scene.name('group'), scene.name('throttled')];
      const image = makeImage(scene.path());
      await vm.qmp('object-add', { 'qom-type': 'throttle-group', id: group, limits: { 'iops-total': 1000 } });
      const file = await addNode(vm, 'file', image);
      await vm.qmp('blockdev-add', { driver: 'throttle', 'node-name': node, 'throttle-group': group, file });
      await fill(vm, node, 0xa5);
      await removeNode(vm, node, file);
      await vm.qmp('object-del', { id: group });
      checkFilled(image, 0xa5);
    },
  },
  {
    operation: 'block_resize',
    way: 'transparent',
    features: ['block-resize'],
    run: async (scene) => {
      const vm = await scene.counter();
      const image = makeImage(scene.path());
      const node = await addNode(vm, 'raw', image);
      await vm.qmp('block_resize', { 'node-name': node, size: 2 * 1024 * 1024 });
      await removeNode(vm, node);
      if (statSync(image).size !== 2 * 1024 * 1024) throw new Error(`the image has ${statSync(image).size} bytes`);
    },
  },
  {
    operation: 'discard makes holes',
    way: 'transparent',
    features: ['discard'],
    run: async (scene) => {
      const vm = await scene.counter();
      const image = makeImage(scene.path());
      const node = await addNode(vm, 'raw', image, { discard: 'unmap', file: { discard: 'unmap' } });
      await fill(vm, node, 0xa5);
      const full = statSync(image).blocks;
      await vm.hmp(`qemu-io ${node} "discard 0 64k"`);
      await removeNode(vm, node);
      const left = statSync(image).blocks;
      if (full === 0 || left >= full) throw new Error(`${full} blocks before, ${left} after`);
    },
  },
  {
    operation: 'zeroes are written as holes',
    way: 'transparent',
    features: ['discard'],
    run: async (scene) => {
      const vm = await scene.counter();
      const image = makeImage(scene.path());
      const node = await addNode(vm, 'raw', image, { discard: 'unmap', file: { discard: 'unmap' } });
      await fill(vm, node, 0xa5);
      await vm.hmp(`qemu-io ${node} "write -z -u 0 64k"`);
      await removeNode(vm, node);
      checkFilled(image, 0);
      if (statSync(image).blocks > 0) throw new Error(`${statSync(image).blocks} blocks are left`);
    },
  },
  {
    operation: 'curl, ssh, iscsi, rbd, gluster and nfs: an image on another machine',
    way: 'transparent',
    missing: () => 'Debian has the drivers in qemu-block-extra, which is not installed, and there is no such server',
    run: () => Promise.reject(new Error('not here')),
  },
];
