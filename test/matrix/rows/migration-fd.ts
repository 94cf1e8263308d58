// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { until } from '../qemu-version.ts';
import type { Row } from '../row.ts';
import type { Scene } from '../scene.ts';
import { configure, hasArrived, lastCount, slow, startPair, untilMigration } from '../support/migrate.ts';
import type { Vm } from '../vm.ts';

interface Pair {
  readonly source: Vm;
  readonly destination: Vm;
}

/** The broker of the one binds, that of the other connects, and QEMU is given both sockets under a name. */
export async function giveSockets(scene: Scene, { source, destination }: Pair): Promise<void> {
  const path = scene.path();
  using listening = await destination.sandbox.bind(`unix:${path}`, 4);
  await destination.qmp('getfd', { fdname: 'in' }, [listening.fd]);
  using connected = await source.sandbox.connect(`unix:${path}`);
  await source.qmp('getfd', { fdname: 'out' }, [connected.fd]);
}

/** That a channel of its own has no way in as a descriptor. */
function oneChannelOnly(capability: string, instead: string): Row {
  return {
    operation: `${capability} over descriptors`,
    way: 'fd',
    features: capability === 'postcopy-preempt' ? ['postcopy'] : [],
    longOnly: true,
    limit: { because: 'QEMU connects each further channel itself, to the address of the first', instead },
    run: async (scene) => {
      const pair = await startPair(scene);
      pair.destination.mayEnd();
      const capabilities = capability === 'multifd' ? [capability] : [capability, 'postcopy-ram'];
      await configure(pair.source, { capabilities, ...slow });
      await giveSockets(scene, pair);
      const status = await untilMigration(pair.source, () => pair.source.qmp('migrate', { uri: 'fd:out' }), [
        'failed',
        'active',
      ]).catch(() => 'failed');
      if (status !== 'failed') throw new Error(`the migration is ${status}: its limit is gone`);
    },
  };
}

export const migrationFd: readonly Row[] = [
  {
    operation: 'into a program and out of one, as exec: would (programs of the profile)',
    way: 'fd',
    run: async (scene) => {
      const path = scene.path();
      const programs = {
        pack: { path: '/usr/bin/gzip', args: ['-1', '-c'] },
        unpack: { path: '/usr/bin/gzip', args: ['-d', '-c'] },
      };
      const source = await scene.start('counter', { programs });
      const destination = await scene.start('counter', { programs, args: ['-incoming', 'defer'] });
      await using packing = await source.sandbox.exec('pack', { output: path });
      if (packing.stdin === undefined) throw new Error('the program has no stdin');
      await source.sandbox.vmm.migrateInto(packing.stdin);
      packing.stdin.close();
      await packing.exited;
      execFileSync('gzip', ['-t', path]);
      const left = lastCount(source);
      await using unpacking = await destination.sandbox.exec('unpack', { input: path });
      if (unpacking.stdout === undefined) throw new Error('the program has no stdout');
      await destination.sandbox.vmm.migrateFrom(unpacking.stdout);
      if ((await destination.guestGoesOn()) < left / 2) throw new Error('the guest started again');
    },
  },
  {
    operation: 'incoming, several connections of a listening socket of the broker (multifd)',
    way: 'fd',
    missing: () => until('8.2'),
    run: async (scene) => {
      const pair = await startPair(scene);
      const settings = { capabilities: ['multifd'], parameters: { 'multifd-channels': 4 } };
      for (const vm of [pair.source, pair.destination]) await configure(vm, settings);
      const path = scene.path();
      using listening = await pair.destination.sandbox.bind(`unix:${path}`, 5);
      await pair.destination.qmp('getfd', { fdname: 'in' }, [listening.fd]);
      await pair.destination.qmp('migrate-incoming', { uri: 'tcp:fd:in' });
      await untilMigration(pair.source, () => pair.source.qmp('migrate', { uri: `unix:${path}` }), ['completed']);
      await hasArrived(pair);
    },
  },
  oneChannelOnly('multifd', 'the address, which the broker answers for ("multifd: tcp, 4 channels")'),
  oneChannelOnly('postcopy-preempt', 'the address, which the broker answers for ("postcopy-preempt: tcp")'),
  ...(
    [
      ['vsock:', 'this kernel has no vsock loopback and no /dev/vhost-vsock, so nobody is at the other end'],
      ['COLO', 'Debian builds QEMU without a colo-proxy for two machines that stay in step'],
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
