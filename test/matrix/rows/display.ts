// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import type { Row } from '../row.ts';
import type { Scene } from '../scene.ts';
import { makeCertificates } from '../support/certificates.ts';
import { mustFail } from '../support/must-fail.ts';
import { Listener, Peer } from '../support/peer.ts';
import { seePicture } from '../support/rfb.ts';
import type { Vm } from '../vm.ts';

const port = 5944;

/** VNC has to be there from the start; where it listens may change later. */
async function withVnc(scene: Scene, options = ''): Promise<{ readonly vm: Vm; readonly path: string }> {
  const path = scene.path();
  return { vm: await scene.start('counter', { args: ['-vnc', `unix:${path}${options}`] }), path };
}

const vnc: readonly Row[] = [
  {
    operation: 'VNC client of a socket that QEMU listened on from the start',
    way: 'in-process',
    run: async (scene) => {
      const { path } = await withVnc(scene);
      await seePicture(Peer.connect({ path }));
    },
  },
  ...(['unix', 'tcp'] as const).map(
    (kind): Row => ({
      operation: `VNC listens on another address: ${kind}`,
      way: 'transparent',
      run: async (scene) => {
        const { vm } = await withVnc(scene);
        const path = scene.path();
        const address = kind === 'unix' ? { type: 'unix', path } : { type: 'inet', host: '127.0.0.1', port: `${port}` };
        await vm.qmp('display-update', { type: 'vnc', addresses: [address] });
        await seePicture(Peer.connect(kind === 'unix' ? { path } : { host: '127.0.0.1', port }));
      },
    }),
  ),
  {
    operation: 'VNC listens on a socket of the broker',
    way: 'fd',
    run: async (scene) => {
      const { vm } = await withVnc(scene);
      const path = scene.path();
      using listening = await vm.sandbox.bind(`unix:${path}`, 1);
      await vm.qmp('getfd', { fdname: 'vnc' }, [listening.fd]);
      await vm.qmp('display-update', { type: 'vnc', addresses: [{ type: 'fd', str: 'vnc' }] });
      await seePicture(Peer.connect({ path }));
    },
  },
  {
    operation: 'VNC client on a connection of the broker (add_client)',
    way: 'fd',
    longOnly: true,
    run: async (scene) => {
      const { vm } = await withVnc(scene);
      const path = scene.path();
      await using listener = await Listener.on(path);
      using connection = await vm.sandbox.connect(`unix:${path}`);
      await vm.qmp('getfd', { fdname: 'client' }, [connection.fd]);
      await vm.qmp('add_client', { protocol: 'vnc', fdname: 'client', skipauth: true });
      await seePicture(await listener.accepted);
    },
  },
  {
    operation: 'VNC password: set, right, wrong',
    way: 'in-process',
    run: async (scene) => {
      const { vm, path } = await withVnc(scene, ',password=on');
      await vm.qmp('set_password', { protocol: 'vnc', password: 'sesame' });
      await seePicture(Peer.connect({ path }), { password: 'sesame' });
      await mustFail(seePicture(Peer.connect({ path }), { password: 'simsalab' }));
    },
  },
  {
    operation: 'VNC with TLS',
    way: 'in-process',
    run: async (scene) => {
      const folder = scene.path();
      makeCertificates(folder);
      const path = scene.path();
      const credentials = `tls-creds-x509,id=tls0,endpoint=server,dir=${folder},verify-peer=off`;
      await scene.start('counter', { args: ['-object', credentials, '-vnc', `unix:${path},tls-creds=tls0`] });
      await seePicture(Peer.connect({ path }), { authority: readFileSync(`${folder}/ca-cert.pem`) });
    },
  },
];

/** SPICE's first message: the main channel, no capabilities. */
function spiceLink(): string {
  const message = Buffer.alloc(16 + 18);
  message.write('REDQ');
  message.writeUInt32LE(2, 4);
  message.writeUInt32LE(2, 8);
  message.writeUInt32LE(18, 12);
  message.writeUInt8(1, 20);
  message.writeUInt32LE(18, 30);
  return message.toString('latin1');
}

const others: readonly Row[] = [
  {
    operation: 'SPICE client of a socket that QEMU listened on from the start',
    way: 'in-process',
    features: ['spice'],
    longOnly: true,
    run: async (scene) => {
      const path = scene.path();
      await scene.start('counter', { args: ['-spice', `unix=on,addr=${path},disable-ticketing=on`] });
      const peer = Peer.connect({ path });
      peer.send(spiceLink());
      await peer.until(/^REDQ/);
      peer.stream.destroy();
    },
  },
  {
    operation: 'SPICE listens on another address',
    way: 'in-process',
    limit: { because: 'QEMU opens the SPICE server once, at its start', instead: 'add_client with protocol spice' },
    run: async (scene) => {
      const vm = await scene.counter();
      await mustFail(vm.qmp('display-update', { type: 'spice' }));
    },
  },
  {
    operation: 'D-Bus display on a connection of the broker (add_client)',
    way: 'fd',
    features: ['dbus-display'],
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.start('counter', { args: ['-display', 'dbus,p2p=on'] });
      const path = scene.path();
      await using listener = await Listener.on(path);
      using connection = await vm.sandbox.connect(`unix:${path}`);
      await vm.qmp('getfd', { fdname: 'client' }, [connection.fd]);
      await vm.qmp('add_client', { protocol: '@dbus-display', fdname: 'client' });
      const peer = await listener.accepted;
      peer.send(`\0AUTH EXTERNAL ${Buffer.from(String(process.getuid?.() ?? 0)).toString('hex')}\r\n`);
      await peer.until(/^OK [0-9a-f]{32}\r\n/);
    },
  },
];

export const display: readonly Row[] = [...vnc, ...others];
