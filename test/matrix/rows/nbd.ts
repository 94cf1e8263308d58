// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Row } from '../row.ts';
import { addNode, checkFilled, fill, makeImage, removeNode, runJob } from '../support/block.ts';
import { makeCertificates } from '../support/certificates.ts';
import { serveNbd } from '../support/nbd.ts';

const run = promisify(execFile);
const port = 10_809;
const loopback = { type: 'inet', host: '127.0.0.1', port: `${port}` } as const;

/** Writes to what a VM exports, as any NBD client does. */
async function writeBy(...image: readonly string[]): Promise<void> {
  const { stdout } = await run('qemu-io', ['-c', 'write -P 165 0 64k', '-c', 'flush', ...image]);
  if (!stdout.includes('wrote 65536/65536')) throw new Error(stdout);
}

export const nbd: readonly Row[] = [
  ...(['unix', 'tcp'] as const).map(
    (kind): Row => ({
      operation: `NBD client: ${kind}`,
      way: 'transparent',
      run: async (scene) => {
        const vm = await scene.counter();
        const image = makeImage(scene.path());
        const path = scene.path();
        const server = kind === 'unix' ? { type: 'unix', path } : loopback;
        await serveNbd(scene, image, ...(kind === 'unix' ? ['-k', path] : ['-b', '127.0.0.1', '-p', `${port}`]));
        const node = scene.name('nbd');
        await vm.qmp('blockdev-add', { driver: 'nbd', 'node-name': node, server, export: 'disk' });
        await fill(vm, node, 0xa5);
        await removeNode(vm, node);
        checkFilled(image, 0xa5);
      },
    }),
  ),
  {
    operation: 'NBD client: connected by the broker',
    way: 'fd',
    run: async (scene) => {
      const vm = await scene.counter();
      const image = makeImage(scene.path());
      const path = scene.path();
      await serveNbd(scene, image, '-k', path);
      using connection = await vm.sandbox.connect(`unix:${path}`);
      await vm.qmp('getfd', { fdname: 'nbd' }, [connection.fd]);
      const node = scene.name('nbd');
      const server = { type: 'fd', str: 'nbd' };
      await vm.qmp('blockdev-add', { driver: 'nbd', 'node-name': node, server, export: 'disk' });
      await fill(vm, node, 0xa5);
      await removeNode(vm, node);
      checkFilled(image, 0xa5);
    },
  },
  {
    operation: 'NBD client: TLS over tcp',
    way: 'transparent',
    run: async (scene) => {
      const folder = scene.path();
      makeCertificates(folder);
      const vm = await scene.start('counter', {
        args: ['-object', `tls-creds-x509,id=tls0,endpoint=client,dir=${folder}`],
      });
      const image = makeImage(scene.path());
      const credentials = ['--object', `tls-creds-x509,id=tls0,endpoint=server,dir=${folder}`, '--tls-creds', 'tls0'];
      await serveNbd(scene, image, '-b', '127.0.0.1', '-p', `${port}`, ...credentials);
      const node = scene.name('nbd');
      const options = { server: loopback, export: 'disk', 'tls-creds': 'tls0', 'tls-hostname': 'localhost' };
      await vm.qmp('blockdev-add', { driver: 'nbd', 'node-name': node, ...options });
      await fill(vm, node, 0xa5);
      await removeNode(vm, node);
      checkFilled(image, 0xa5);
    },
  },
  {
    operation: 'NBD client: mirror to another machine',
    way: 'transparent',
    run: async (scene) => {
      const vm = await scene.counter();
      const image = makeImage(scene.path());
      const path = scene.path();
      await serveNbd(scene, image, '-k', path);
      const node = await addNode(vm, 'raw', makeImage(scene.path()));
      await fill(vm, node, 0xa5);
      const target = scene.name('nbd');
      const server = { type: 'unix', path };
      await vm.qmp('blockdev-add', { driver: 'nbd', 'node-name': target, server, export: 'disk' });
      await runJob(vm, 'blockdev-mirror', { 'job-id': 'mirror', device: node, target, sync: 'full' });
      await removeNode(vm, target, node);
      checkFilled(image, 0xa5);
    },
  },
  ...(['unix', 'tcp'] as const).map(
    (kind): Row => ({
      operation: `NBD server: ${kind}`,
      way: 'transparent',
      run: async (scene) => {
        const vm = await scene.counter();
        const image = makeImage(scene.path());
        const path = scene.path();
        const node = await addNode(vm, 'raw', image);
        const data = kind === 'unix' ? { path } : { host: '127.0.0.1', port: `${port}` };
        await vm.qmp('nbd-server-start', { addr: { type: kind === 'unix' ? 'unix' : 'inet', data } });
        const how = { type: 'nbd', id: 'exported', name: 'disk', 'node-name': node, writable: true };
        await vm.qmp('block-export-add', how);
        await writeBy(
          '-f',
          'raw',
          kind === 'unix' ? `nbd+unix:///disk?socket=${path}` : `nbd://127.0.0.1:${port}/disk`,
        );
        await vm.qmp('nbd-server-stop');
        await removeNode(vm, node);
        checkFilled(image, 0xa5);
      },
    }),
  ),
  {
    operation: 'NBD server: listening socket of the broker',
    way: 'fd',
    run: async (scene) => {
      const vm = await scene.counter();
      const image = makeImage(scene.path());
      const path = scene.path();
      const node = await addNode(vm, 'raw', image);
      using listening = await vm.sandbox.bind(`unix:${path}`, 1);
      await vm.qmp('getfd', { fdname: 'listening' }, [listening.fd]);
      await vm.qmp('nbd-server-start', { addr: { type: 'fd', data: { str: 'listening' } } });
      await vm.qmp('block-export-add', { type: 'nbd', id: 'e', name: 'disk', 'node-name': node, writable: true });
      await writeBy('-f', 'raw', `nbd+unix:///disk?socket=${path}`);
      await vm.qmp('nbd-server-stop');
      await removeNode(vm, node);
      checkFilled(image, 0xa5);
    },
  },
  {
    operation: 'NBD server: TLS over tcp',
    way: 'transparent',
    run: async (scene) => {
      const folder = scene.path();
      makeCertificates(folder);
      const credentials = (endpoint: string) => `tls-creds-x509,id=tls0,endpoint=${endpoint},dir=${folder}`;
      const vm = await scene.start('counter', { args: ['-object', credentials('server')] });
      const image = makeImage(scene.path());
      const node = await addNode(vm, 'raw', image);
      await vm.qmp('nbd-server-start', {
        addr: { type: 'inet', data: { host: '127.0.0.1', port: `${port}` } },
        'tls-creds': 'tls0',
      });
      await vm.qmp('block-export-add', { type: 'nbd', id: 'e', name: 'disk', 'node-name': node, writable: true });
      const where = `driver=nbd,host=127.0.0.1,port=${port},export=disk,tls-creds=tls0,tls-hostname=localhost`;
      await writeBy('--object', credentials('client'), '--image-opts', where);
      await vm.qmp('nbd-server-stop');
      await removeNode(vm, node);
      checkFilled(image, 0xa5);
    },
  },
];
