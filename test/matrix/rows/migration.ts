// SPDX-License-Identifier: Apache-2.0
import { statSync } from 'node:fs';
import { until } from '../qemu-version.ts';
import type { Row } from '../row.ts';
import { configure, hasArrived, lastCount, moveBy, slow, startPair, untilMigration } from '../support/migrate.ts';
import { mustFail } from '../support/must-fail.ts';

const multifd = { capabilities: ['multifd'], parameters: { 'multifd-channels': 4 } } as const;

const inShortForm: readonly string[] = ['tcp', 'multifd: unix, 4 channels'];

const moves: readonly Row[] = (
  [
    ['tcp', 'tcp', {}],
    ['unix', 'unix', {}],
    ['tcp, IPv6', 'tcp6', {}],
    ['multifd: tcp, 4 channels', 'tcp', multifd],
    ['multifd: unix, 4 channels', 'unix', multifd],
    ['xbzrle', 'unix', { capabilities: ['xbzrle'] }],
    ['compression threads', 'unix', { capabilities: ['compress'] }],
    ['auto-converge', 'unix', { capabilities: ['auto-converge'] }],
  ] as const
).map(
  ([operation, kind, settings]): Row => ({
    operation,
    way: 'transparent',
    ...(inShortForm.includes(operation) ? {} : { longOnly: true }),
    ...(operation === 'compression threads' ? { missing: () => until('9.1') } : {}),
    run: async (scene) => {
      const uri = { tcp: 'tcp:127.0.0.1:4444', tcp6: 'tcp:[::1]:4444', unix: `unix:${scene.path()}` }[kind];
      await moveBy(await startPair(scene), uri, settings);
    },
  }),
);

export const migration: readonly Row[] = [
  ...moves,
  {
    operation: 'tcp, connected and listening sockets of the broker',
    way: 'fd',
    run: async (scene) => {
      const pair = await startPair(scene);
      const incoming = await pair.destination.sandbox.vmm.acceptMigration('tcp:127.0.0.1:4444');
      const left = lastCount(pair.source);
      await pair.source.sandbox.vmm.migrate('tcp:127.0.0.1:4444');
      await incoming.completed;
      if ((await pair.destination.guestGoesOn()) < left) throw new Error('the guest started again');
    },
  },
  {
    operation: 'incoming by the address on the command line',
    way: 'transparent',
    longOnly: true,
    run: async (scene) => {
      const uri = `unix:${scene.path()}`;
      const destination = await scene.start('counter', { args: ['-incoming', uri] });
      const source = await scene.start('counter');
      await configure(source, {});
      await untilMigration(source, () => source.qmp('migrate', { uri }), ['completed']);
      if ((await destination.guestGoesOn()) < lastCount(source)) throw new Error('the guest started again');
    },
  },
  {
    operation: 'to a file, and from it',
    way: 'fd',
    missing: () => until('11.0'),
    longOnly: true,
    run: async (scene) => {
      const pair = await startPair(scene);
      const path = scene.path();
      using written = await pair.source.sandbox.open(path, 'wo', { create: true });
      await configure(pair.source, {}, []);
      await pair.source.qmp('getfd', { fdname: 'state' }, [written.fd]);
      await untilMigration(pair.source, () => pair.source.qmp('migrate', { uri: 'fd:state' }), ['completed']);
      if (statSync(path).size < 100_000) throw new Error('the file has not the machine in it');
      using read = await pair.destination.sandbox.open(path, 'ro');
      await configure(pair.destination, {}, []);
      await pair.destination.qmp('getfd', { fdname: 'state' }, [read.fd]);
      await pair.destination.qmp('migrate-incoming', { uri: 'fd:state' });
      await hasArrived(pair);
    },
  },
  {
    operation: 'cancelled while it runs, then again',
    way: 'transparent',
    run: async (scene) => {
      const pair = await startPair(scene);
      const first = `unix:${scene.path()}`;
      await scene.start('counter', { args: ['-incoming', first] }).then((vm) => vm.mayEnd());
      await configure(pair.source, slow);
      await untilMigration(pair.source, () => pair.source.qmp('migrate', { uri: first }), ['active']);
      await untilMigration(pair.source, () => pair.source.qmp('migrate_cancel'), ['cancelled']);
      await moveBy(pair, `unix:${scene.path()}`);
    },
  },
  {
    operation: 'nobody listens, then somebody',
    way: 'transparent',
    run: async (scene) => {
      const pair = await startPair(scene);
      await configure(pair.source, {});
      await untilMigration(pair.source, () => pair.source.qmp('migrate', { uri: 'tcp:127.0.0.1:4443' }), ['failed']);
      await moveBy(pair, 'tcp:127.0.0.1:4444');
    },
  },
  {
    operation: 'dirty rate of the guest',
    way: 'in-process',
    run: async (scene) => {
      const vm = await scene.counter();
      await vm.qmp('calc-dirty-rate', { 'calc-time': 1, mode: 'page-sampling' });
      await vm.until('query-dirty-rate', ({ status }) => status === 'measured');
    },
  },
  {
    operation: 'exec:',
    way: 'transparent',
    limit: {
      because: 'QEMU starts a shell for it, and starts no programs in this stage',
      instead:
        'a program that the profile names, which the broker has run (row "into a program and out of one"; `ratchet ctl exec`)',
    },
    expects: ({ syscall }) => ['pipe2', 'clone', 'fork', 'vfork', 'execve'].includes(String(syscall)),
    run: async (scene) => {
      const vm = await scene.counter();
      await mustFail(vm.qmp('migrate', { uri: 'exec:cat >/dev/null' }));
    },
  },
  {
    operation: 'rdma:',
    way: 'transparent',
    missing: () => 'the kernel here has no /dev/infiniband',
    run: () => Promise.reject(new Error('needs a device')),
  },
];
