// SPDX-License-Identifier: Apache-2.0
// What rules of features are for that no row of the matrix makes use of.
import { statSync } from 'node:fs';
import type { Row } from '../../matrix/row.ts';
import { inflateBalloon } from '../../matrix/rows/devices-more.ts';
import { runNewJob } from '../../matrix/support/block.ts';

const size = 1024 * 1024;

export const ofFeatures: readonly Row[] = [
  {
    operation: 'virtio-balloon with shared memory: the host has the memory back',
    way: 'in-process',
    features: ['balloon'],
    run: (scene) =>
      inflateBalloon(
        scene,
        ...['-object', 'memory-backend-memfd,id=memory,size=256M,share=on', '-machine', 'memory-backend=memory'],
      ),
  },
  {
    operation: 'blockdev-create: a raw file that has its blocks from the beginning',
    way: 'transparent',
    features: ['snapshots'],
    run: async (scene) => {
      const vm = await scene.counter();
      const filename = scene.path();
      await runNewJob(vm, 'blockdev-create', { options: { driver: 'file', filename, size, preallocation: 'falloc' } });
      const { blocks } = statSync(filename);
      if (blocks * 512 < size) throw new Error(`the file has ${blocks} blocks`);
    },
  },
];
