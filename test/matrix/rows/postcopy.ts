// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { isAtLeast } from '../qemu-version.ts';
import type { Row } from '../row.ts';
import type { Scene } from '../scene.ts';
import { configure, hasArrived, lastCount, slow, untilMigration } from '../support/migrate.ts';
import type { Vm } from '../vm.ts';

/**
 * QEMU before 8.0 wants faults of the kernel too, which userfaultfd(2) gives to CAP_SYS_PTRACE or where vm.unprivileged_userfaultfd is 1. Newer ones
 * open /dev/userfaultfd, which the broker can do.
 */
const keepCapabilities = readFileSync('/proc/sys/vm/unprivileged_userfaultfd', 'utf8').trim() === '0';

async function startPostcopyPair(scene: Scene): Promise<{ readonly source: Vm; readonly destination: Vm }> {
  const source = await scene.start('counter');
  const destination = await scene.start('counter', { keepCapabilities, args: ['-incoming', 'defer'] });
  return { source, destination };
}

/** Starts a migration that does not end by itself and makes it a postcopy one. */
async function moveByPostcopy(
  { source, destination }: { readonly source: Vm; readonly destination: Vm },
  uri: string,
  capabilities: readonly string[],
  parameters: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  const settings = {
    capabilities: ['postcopy-ram', ...capabilities],
    parameters: { ...slow.parameters, ...parameters },
  };
  await configure(source, settings);
  await configure(destination, settings);
  await destination.qmp('migrate-incoming', { uri });
  await untilMigration(source, () => source.qmp('migrate', { uri }), ['active']);
  await untilMigration(source, () => source.qmp('migrate-start-postcopy'), ['postcopy-active']);
}

export const postcopy: readonly Row[] = [
  ...(['postcopy', 'postcopy-preempt'] as const).flatMap((operation) =>
    (['tcp', 'unix'] as const).map(
      (kind): Row => ({
        operation: `${operation}: ${kind}`,
        way: 'transparent',
        features: ['postcopy'],
        ...(kind === 'unix' ? { longOnly: true } : {}),
        run: async (scene) => {
          const pair = await startPostcopyPair(scene);
          const uri = kind === 'tcp' ? 'tcp:127.0.0.1:4444' : `unix:${scene.path()}`;
          await moveByPostcopy(pair, uri, operation === 'postcopy' ? [] : ['postcopy-preempt']);
          await hasArrived(pair);
        },
      }),
    ),
  ),
  {
    operation: 'postcopy recovery on another connection',
    way: 'transparent',
    features: ['postcopy'],
    longOnly: true,
    run: async (scene) => {
      const pair = await startPostcopyPair(scene);
      const { source, destination } = pair;
      await moveByPostcopy(pair, `unix:${scene.path()}`, [], { 'max-postcopy-bandwidth': 100_000 });
      await destination.until('query-migrate', ({ status }) => status === 'postcopy-active');
      await untilMigration(source, () => source.qmp('migrate-pause'), ['postcopy-paused']);
      await destination.until('query-migrate', ({ status }) => status === 'postcopy-paused');
      const uri = `unix:${scene.path()}`;
      await destination.qmp('migrate-recover', { uri });
      await source.qmp('migrate-set-parameters', { 'max-postcopy-bandwidth': 0 });
      await untilMigration(source, () => source.qmp('migrate', { uri, resume: true }), ['completed']);
      await hasArrived(pair);
    },
  },
  {
    operation: 'background snapshot to a file',
    way: 'fd',
    features: isAtLeast('11.0') ? ['background-snapshot', 'migration-file'] : ['background-snapshot'],
    run: async (scene) => {
      const vm = await scene.start('counter', { keepCapabilities });
      using file = await vm.sandbox.open(scene.path(), 'rw', { create: true });
      await configure(vm, { capabilities: ['background-snapshot'] }, []);
      const before = lastCount(vm);
      const uri = await uriOf(vm, file.fd);
      await untilMigration(vm, () => vm.qmp('migrate', { uri }), ['completed']);
      if ((await vm.guestGoesOn()) <= before) throw new Error('the guest stands still');
    },
  },
];

/** A file that is open: QEMU 11 takes no `fd:` for it any more, and `file:` since 8.2. */
async function uriOf(vm: Vm, fd: number): Promise<string> {
  if (isAtLeast('11.0')) {
    const { 'fdset-id': set } = await vm.qmp<{ readonly 'fdset-id': number }>('add-fd', {}, [fd]);
    return `file:/dev/fdset/${set}`;
  }
  await vm.qmp('getfd', { fdname: 'state' }, [fd]);
  return 'fd:state';
}
