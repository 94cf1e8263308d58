// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { constants, openSync, readFileSync } from 'node:fs';
import { ReadStream } from 'node:tty';
import { waitFor } from '../../launch/processes.ts';
import { since } from '../qemu-version.ts';
import type { Row } from '../row.ts';
import type { Scene } from '../scene.ts';
import { Listener, Peer } from '../support/peer.ts';
import { addPort, talk } from '../support/port.ts';
import type { Vm } from '../vm.ts';

/** A pseudo-terminal of another QEMU: its path, and its other end. */
export async function foreignTerminal(scene: Scene): Promise<{ readonly path: string; readonly peer: Peer }> {
  const owner = await scene.start('counter', { args: ['-chardev', 'pty,id=pty'] });
  const chardevs = await owner.qmp<readonly { readonly label: string; readonly filename: string }[]>('query-chardev');
  const path = chardevs.find(({ label }) => label === 'pty')?.filename.replace(/^pty:/, '') ?? '';
  execFileSync('stty', ['-F', path, 'raw', '-echo']);
  const stream = new ReadStream(openSync(path, constants.O_RDWR | constants.O_NOCTTY));
  scene.onEnd(() => stream.destroy());
  return { path, peer: new Peer(stream, stream) };
}

export const chardevMore: readonly Row[] = [
  {
    operation: 'pty of the command line',
    way: 'in-process',
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.start('linux', { args: ['-chardev', 'pty,id=pty'] });
      const port = await addPort(scene, vm, 'pty');
      const chardevs = await vm.qmp<readonly { readonly label: string; readonly filename: string }[]>('query-chardev');
      const path = chardevs.find(({ label }) => label === 'pty')?.filename.replace(/^pty:/, '') ?? '';
      execFileSync('stty', ['-F', path, 'raw', '-echo']);
      const stream = new ReadStream(openSync(path, constants.O_RDWR | constants.O_NOCTTY));
      scene.onEnd(() => stream.destroy());
      await talk(port, new Peer(stream, stream));
    },
  },
  {
    operation: 'serial: a terminal of the host',
    way: 'transparent',
    features: ['pty'],
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.linux();
      const id = scene.name('serial');
      const { path } = await foreignTerminal(scene);
      await vm.qmp('chardev-add', { id, backend: { type: 'serial', data: { device: path } } });
      const port = await addPort(scene, vm, id);
      await vm.shell(`echo from the guest >${port.path}`);
      await port.remove();
    },
  },
  {
    operation: 'pipe: a socket of the broker in an fdset',
    way: 'fd',
    run: async (scene) => {
      const vm = await scene.linux();
      const path = scene.path();
      const listener = scene.use(await Listener.on(path));
      using connection = await vm.sandbox.connect(`unix:${path}`);
      const { 'fdset-id': set } = await vm.qmp<{ readonly 'fdset-id': number }>('add-fd', {}, [connection.fd]);
      const id = scene.name('pipe');
      await vm.qmp('chardev-add', { id, backend: { type: 'pipe', data: { device: `/dev/fdset/${set}` } } });
      const port = await addPort(scene, vm, id);
      await talk(port, await listener.accepted);
      await port.remove();
      await vm.qmp('remove-fd', { 'fdset-id': set });
    },
  },
  {
    operation: 'logfile of a socket chardev, in an fdset',
    way: 'fd',
    features: ['output-files'],
    run: async (scene) => {
      const vm = await scene.linux();
      const [path, id] = [scene.path(), scene.name('logged')];
      using file = await vm.sandbox.open(path, 'wo', { create: true });
      const { 'fdset-id': set } = await vm.qmp<{ readonly 'fdset-id': number }>('add-fd', {}, [file.fd]);
      const data = { logfile: `/dev/fdset/${set}`, size: 1024 };
      await vm.qmp('chardev-add', { id, backend: { type: 'ringbuf', data } });
      const port = await addPort(scene, vm, id);
      await vm.shell(`echo from the guest >${port.path}`);
      await waitFor('the text in the log', () => readFileSync(path, 'utf8') === 'from the guest\n');
      await port.remove();
      await vm.qmp('remove-fd', { 'fdset-id': set });
    },
  },
  {
    operation: 'a connection of the broker for a server chardev (add_client)',
    way: 'fd',
    run: async (scene) => {
      const vm = await scene.linux();
      const [slot, path] = [scene.path(), scene.path()];
      const id = scene.name('slot');
      const data = { addr: { type: 'unix', data: { path: slot } }, server: true, wait: false };
      await vm.qmp('chardev-add', { id, backend: { type: 'socket', data } });
      const port = await addPort(scene, vm, id);
      const peer = await byConnection(scene, vm, path, id);
      await talk(port, peer);
      await port.remove();
    },
  },
  {
    operation: 'hub: one port, two chardevs',
    way: 'in-process',
    missing: () => since('10.0'),
    longOnly: true,
    run: async (scene) => {
      const rings = ['-chardev', 'ringbuf,id=ring0', '-chardev', 'ringbuf,id=ring1'];
      const hub = ['-chardev', 'hub,id=hub,chardevs.0=ring0,chardevs.1=ring1'];
      const vm = await scene.start('counter', {
        args: [...rings, ...hub, '-device', 'isa-debugcon,iobase=0xe9,chardev=hub'],
      });
      await vm.hmp(`o/b 0xe9 ${'A'.charCodeAt(0)}`);
      for (const device of ['ring0', 'ring1']) {
        const heard = await vm.qmp<string>('ringbuf-read', { device, size: 1024 });
        if (heard !== 'A') throw new Error(`${device} heard ${JSON.stringify(heard)}`);
      }
    },
  },
  ...(
    [
      ['socket client and server: vsock', 'this kernel has no vsock loopback, so nobody is at the other end'],
      [
        'spicevmc, spiceport',
        'the effect needs a SPICE client with the channel, and Debian has none without a display',
      ],
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

async function byConnection(scene: Scene, vm: Vm, path: string, chardev: string): Promise<Peer> {
  const listener = scene.use(await Listener.on(path));
  using connection = await vm.sandbox.connect(`unix:${path}`);
  await vm.qmp('getfd', { fdname: 'client' }, [connection.fd]);
  await vm.qmp('add_client', { protocol: chardev, fdname: 'client' });
  return await listener.accepted;
}
