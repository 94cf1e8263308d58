// SPDX-License-Identifier: Apache-2.0
import { readFileSync, statSync } from 'node:fs';
import { readTasks } from '../../../core/stages/tasks.ts';
import { statusField, waitFor } from '../../launch/processes.ts';
import type { Row } from '../row.ts';
import { startsWith } from '../support/block.ts';
import { Peer } from '../support/peer.ts';

/** A packet of gdb's remote protocol: why has it stopped? */
const whyStopped = '+$?#3f';

/** The debugger stops the guest, hears why, and lets go of it. */
async function debug(peer: Peer): Promise<void> {
  peer.send(whyStopped);
  await peer.until(/\$T05[^#]*#../);
  peer.send('+$D#44');
  await peer.until(/\$OK#9a/);
  peer.stream.destroy();
}

const portNumber = 4477;

export const debugRows: readonly Row[] = [
  {
    operation: 'gdbserver on tcp',
    way: 'transparent',
    run: async (scene) => {
      const vm = await scene.counter();
      await vm.hmp(`gdbserver tcp:127.0.0.1:${portNumber}`, /Waiting for gdb/);
      await debug(Peer.connect({ host: '127.0.0.1', port: portNumber }));
      await vm.hmp('gdbserver none', /Disabled/);
      await vm.qmp('cont');
    },
  },
  {
    operation: 'gdbserver on a chardev with a socket of the broker',
    way: 'fd',
    run: async (scene) => {
      const vm = await scene.counter();
      const path = scene.path();
      using listening = await vm.sandbox.bind(`unix:${path}`, 1);
      await vm.qmp('getfd', { fdname: 'gdb' }, [listening.fd]);
      const data = { addr: { type: 'fd', data: { str: 'gdb' } }, server: true, wait: false };
      const id = scene.name('gdb');
      await vm.qmp('chardev-add', { id, backend: { type: 'socket', data } });
      await vm.hmp(`gdbserver chardev:${id}`, /Waiting for gdb/);
      await debug(Peer.connect({ path }));
      await vm.hmp('gdbserver none', /Disabled/);
      await vm.qmp('cont');
    },
  },
  {
    operation: 'screendump',
    way: 'transparent',
    run: async (scene) => {
      const vm = await scene.counter();
      const filename = scene.path();
      await vm.qmp('screendump', { filename });
      if (!startsWith(filename, 'P6')) throw new Error('there is no picture');
    },
  },
  {
    operation: 'screendump as PNG',
    way: 'transparent',
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.counter();
      const filename = scene.path();
      await vm.qmp('screendump', { filename, format: 'png' });
      if (readFileSync(filename).subarray(1, 4).toString() !== 'PNG') throw new Error('there is no picture');
    },
  },
  {
    operation: 'screendump into an fdset',
    way: 'fd',
    features: ['output-files'],
    run: async (scene) => {
      const vm = await scene.counter();
      const path = scene.path();
      using file = await vm.sandbox.open(path, 'wo', { create: true });
      const { 'fdset-id': set } = await vm.qmp<{ readonly 'fdset-id': number }>('add-fd', {}, [file.fd]);
      await vm.qmp('screendump', { filename: `/dev/fdset/${set}` });
      await vm.qmp('remove-fd', { 'fdset-id': set });
      if (!startsWith(path, 'P6')) throw new Error('there is no picture');
    },
  },
  ...(['file', 'fd'] as const).map(
    (protocol): Row => ({
      operation: `dump-guest-memory ${protocol}:`,
      way: protocol === 'fd' ? 'fd' : 'transparent',
      run: async (scene) => {
        const vm = await scene.counter();
        const path = scene.path();
        if (protocol === 'fd') {
          using file = await vm.sandbox.open(path, 'rw', { create: true });
          await vm.qmp('getfd', { fdname: 'dump' }, [file.fd]);
        }
        await vm.qmp('dump-guest-memory', {
          paging: false,
          protocol: `${protocol}:${protocol === 'fd' ? 'dump' : path}`,
        });
        if (readFileSync(path).subarray(1, 4).toString() !== 'ELF') throw new Error('there is no dump');
      },
    }),
  ),
  ...(['memsave', 'pmemsave'] as const).map(
    (command): Row => ({
      operation: command,
      way: 'transparent',
      run: async (scene) => {
        const vm = await scene.counter();
        const filename = scene.path();
        await vm.qmp(command, { val: 0x500, size: 4, filename });
        if (statSync(filename).size !== 4 || readFileSync(filename).readUInt32LE() === 0)
          throw new Error("the guest's counter is not in the file");
      },
    }),
  ),
  {
    operation: 'logfile and log',
    way: 'transparent',
    run: async (scene) => {
      const vm = await scene.counter();
      const path = scene.path();
      await vm.hmp(`logfile ${path}`);
      await vm.hmp('log int');
      await waitFor('interrupts in the log', () => readFileSync(path, 'utf8').includes('Servicing hardware INT'));
      await vm.hmp('log none');
    },
  },
  {
    operation: 'trace events into the log',
    way: 'transparent',
    run: async (scene) => {
      const vm = await scene.counter();
      const path = scene.path();
      await vm.hmp(`logfile ${path}`);
      await vm.qmp('trace-event-set-state', { name: 'monitor_qmp_cmd_in_band', enable: true });
      await vm.qmp('query-status');
      await vm.qmp('trace-event-set-state', { name: 'monitor_qmp_cmd_in_band', enable: false });
      await waitFor('the event in the log', () => /monitor_qmp_cmd/.test(readFileSync(path, 'utf8')));
    },
  },
  {
    operation: 'names of threads that are made later (debug-threads=on)',
    way: 'in-process',
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.start('counter', { args: ['-name', 'vm,debug-threads=on'] });
      await vm.qmp('object-add', { 'qom-type': 'iothread', id: 'later' });
      const named = (): boolean => readTasks(vm.sandbox.pid).some(({ tid }) => statusField(tid, 'Name') === 'IO later');
      await waitFor('the name of the thread', named);
    },
  },
  {
    operation: 'every query of QMP',
    way: 'in-process',
    expects: ({ args }) => JSON.stringify(args).includes('/dev/sgx'),
    run: async (scene) => {
      const vm = await scene.counter();
      const commands = await vm.qmp<readonly { readonly name: string }[]>('query-commands');
      const queries = commands.map(({ name }) => name).filter((name) => name.startsWith('query-'));
      // Some want arguments or a device that is not there. What counts is that each is answered.
      for (const query of queries) await vm.qmp(query).catch(() => undefined);
      if (queries.length < 50) throw new Error(`${queries.length} queries`);
    },
  },
  {
    operation: 'every info of HMP',
    way: 'in-process',
    // Some look for a module of QEMU that is not loaded, and print that there is none.
    expects: ({ args }) => /\/dev\/sgx|\/qemu-bundle|\/qemu\/[\w-]+\.so/.test(JSON.stringify(args)),
    run: async (scene) => {
      const vm = await scene.counter();
      const help = await vm.sandbox.vmm.hmp('info');
      const topics = [...help.matchAll(/^info (\S+)/gm)].map(([, topic]) => topic);
      for (const topic of topics) await vm.sandbox.vmm.hmp(`info ${topic}`);
      if (topics.length < 30) throw new Error(`${topics.length} topics`);
    },
  },
];
