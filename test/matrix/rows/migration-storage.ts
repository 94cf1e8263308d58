// SPDX-License-Identifier: Apache-2.0
// A guest that moves together with its disk, or with what is known about it.
import { until } from '../qemu-version.ts';
import type { Row } from '../row.ts';
import { addNode, checkFilled, fill, makeImage, makeQcow2, removeNode, runJob } from '../support/block.ts';
import { moveBy, startPair } from '../support/migrate.ts';
import type { Vm } from '../vm.ts';

const disk = (image: string): readonly string[] => [
  ...['-drive', `if=none,id=drive,format=raw,file=${image},cache=none`],
  ...['-device', 'virtio-blk-pci,drive=drive'],
];

const shared = (image: string): readonly string[] => [
  ...['-drive', `if=none,id=drive,format=raw,file=${image}`],
  ...['-device', 'virtio-blk-pci,drive=drive'],
];

export const migrationStorage: readonly Row[] = [
  {
    operation: 'with a disk that both machines reach',
    way: 'transparent',
    run: async (scene) => {
      const image = makeImage(scene.path());
      const pair = await startPair(scene, { source: shared(image), destination: shared(image) });
      await pair.source.hmp('qemu-io drive "write -P 17 0 64k"');
      await moveBy(pair, `unix:${scene.path()}`);
      await pair.destination.hmp('qemu-io drive "write -P 165 0 64k"');
      await pair.destination.hmp('qemu-io drive "flush"');
      checkFilled(image, 0xa5);
    },
  },
  {
    operation: 'with its disk, mirrored to the NBD server of the other machine',
    way: 'transparent',
    longOnly: true,
    run: async (scene) => {
      const images = [makeImage(scene.path()), makeImage(scene.path())] as const;
      const pair = await startPair(scene);
      const from = await addNode(pair.source, 'raw', images[0]);
      await fill(pair.source, from, 0xa5);
      const to = await addNode(pair.destination, 'raw', images[1]);
      const path = scene.path();
      await pair.destination.qmp('nbd-server-start', { addr: { type: 'unix', data: { path } } });
      const how = { type: 'nbd', id: 'e', name: 'disk', 'node-name': to, writable: true };
      await pair.destination.qmp('block-export-add', how);
      const server = { type: 'unix', path };
      const target = { driver: 'nbd', 'node-name': 'target', server, export: 'disk' };
      await pair.source.qmp('blockdev-add', target);
      await runJob(pair.source, 'blockdev-mirror', { 'job-id': 'm', device: from, target: 'target', sync: 'full' });
      await removeNode(pair.source, 'target', from);
      await moveBy(pair, `unix:${scene.path()}`);
      await pair.destination.qmp('nbd-server-stop');
      await removeNode(pair.destination, to);
      checkFilled(images[1], 0xa5);
    },
  },
  {
    operation: 'with its disk in the stream (capability block)',
    way: 'transparent',
    missing: () => until('9.1'),
    longOnly: true,
    run: async (scene) => {
      const images = [makeImage(scene.path()), makeImage(scene.path())] as const;
      const pair = await startPair(scene, { source: disk(images[0]), destination: disk(images[1]) });
      await pair.source.hmp('qemu-io drive "write -P 165 0 64k"');
      await moveBy(pair, `unix:${scene.path()}`, { capabilities: ['block'] });
      await pair.destination.hmp('qemu-io drive "flush"');
      checkFilled(images[1], 0xa5);
    },
  },
  {
    operation: 'with the dirty bitmaps of its disk',
    way: 'transparent',
    longOnly: true,
    run: async (scene) => {
      const pair = await startPair(scene);
      const image = makeQcow2(scene.path());
      const add = (vm: Vm) => addNode(vm, 'qcow2', image, { 'node-name': 'disk' });
      await add(pair.source);
      await pair.source.qmp('block-dirty-bitmap-add', { node: 'disk', name: 'since' });
      await pair.source.hmp('qemu-io disk "write -P 165 0 64k"');
      const other = await addNode(pair.destination, 'qcow2', makeQcow2(scene.path()), { 'node-name': 'disk' });
      await moveBy(pair, `unix:${scene.path()}`, { capabilities: ['dirty-bitmaps'] });
      const nodes =
        await pair.destination.qmp<
          readonly { readonly 'node-name': string; readonly 'dirty-bitmaps'?: readonly { readonly count: number }[] }[]
        >('query-named-block-nodes');
      const count = nodes.find((node) => node['node-name'] === 'disk')?.['dirty-bitmaps']?.[0]?.count;
      if (count !== 65_536) throw new Error(`the bitmap of ${other} counts ${count} bytes`);
    },
  },
  {
    operation: 'multifd with zero-copy-send',
    way: 'transparent',
    longOnly: true,
    run: async (scene) => {
      const pair = await startPair(scene);
      const parameters = { 'multifd-channels': 2, 'multifd-compression': 'none' };
      const capabilities = ['multifd'];
      await pair.source.qmp('migrate-set-capabilities', {
        capabilities: ['multifd', 'zero-copy-send'].map((capability) => ({ capability, state: true })),
      });
      await moveBy(pair, 'tcp:127.0.0.1:4444', { capabilities, parameters });
    },
  },
];
