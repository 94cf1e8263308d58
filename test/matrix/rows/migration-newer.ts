// SPDX-License-Identifier: Apache-2.0
// Ways to migrate that QEMU 7.2 has not: to a file by its name (8.2), into a QEMU of another build (cpr-reboot, 8.2), and with the memory handed over as
// descriptors (cpr-transfer, 10.0).
import { existsSync, statSync } from 'node:fs';
import { waitFor } from '../../launch/processes.ts';
import { since } from '../qemu-version.ts';
import type { Row } from '../row.ts';
import type { Scene } from '../scene.ts';
import { configure, hasArrived, lastCount, startPair, untilMigration } from '../support/migrate.ts';
import type { Vm } from '../vm.ts';

/** By way of a file, whose size is looked at. A file has no way back. */
async function moveByFile(
  scene: Scene,
  settings: Parameters<typeof configure>[1],
  pair: { readonly source: Vm; readonly destination: Vm },
): Promise<void> {
  const path = scene.path();
  const uri = `file:${path}`;
  for (const vm of [pair.source, pair.destination]) await configure(vm, settings, []);
  await untilMigration(pair.source, () => pair.source.qmp('migrate', { uri }), ['completed']);
  if (statSync(path).size < 100_000) throw new Error('the file has not the machine in it');
  await pair.destination.qmp('migrate-incoming', { uri });
  await hasArrived(pair);
}

const mappedRam = { capabilities: ['mapped-ram', 'multifd'], parameters: { 'multifd-channels': 4 } } as const;

export const migrationNewer: readonly Row[] = [
  {
    operation: 'file:',
    way: 'transparent',
    features: ['migration-file'],
    longOnly: true,
    missing: () => since('8.2'),
    run: async (scene) => moveByFile(scene, {}, await startPair(scene)),
  },
  {
    operation: 'file: with mapped-ram and 4 channels',
    way: 'transparent',
    features: ['migration-file'],
    longOnly: true,
    missing: () => since('9.0'),
    run: async (scene) => moveByFile(scene, mappedRam, await startPair(scene)),
  },
  {
    operation: 'cpr-reboot',
    way: 'transparent',
    features: ['migration-file'],
    longOnly: true,
    missing: () => since('8.2'),
    run: async (scene) => moveByFile(scene, { parameters: { mode: 'cpr-reboot' } }, await startPair(scene)),
  },
  {
    operation: 'cpr-transfer',
    way: 'transparent',
    longOnly: true,
    missing: () => since('10.0'),
    run: async (scene) => {
      const [main, cpr] = [scene.path(), scene.path()];
      const args = [
        ...['-object', 'memory-backend-memfd,id=shared,size=32M,share=on'],
        ...['-machine', 'memory-backend=shared,aux-ram-share=on'],
      ];
      const channel = (type: string, path: string) => ({
        'channel-type': type,
        addr: { transport: 'socket', type: 'unix', path },
      });
      const source = await scene.start('counter', { args });
      // It builds its machine when the memory has come, and so answers only then.
      const incoming = ['-incoming', JSON.stringify(channel('cpr', cpr)), '-incoming', `unix:${main}`];
      const starting = scene.start('counter', { args: [...args, ...incoming] });
      starting.catch(() => undefined);
      await waitFor('the socket of the destination', () => existsSync(cpr));
      await configure(source, { parameters: { mode: 'cpr-transfer' } });
      const channels = [channel('main', main), channel('cpr', cpr)];
      await untilMigration(source, () => source.qmp('migrate', { channels }), ['completed']);
      const destination = await starting;
      if ((await destination.guestGoesOn()) < lastCount(source)) throw new Error('the guest started again');
    },
  },
];
