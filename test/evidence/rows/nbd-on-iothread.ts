// SPDX-License-Identifier: Apache-2.0
// A server that goes away and comes back is connected to by a thread that the iothread starts.
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { waitFor } from '../../launch/processes.ts';
import type { Row } from '../../matrix/row.ts';
import type { Scene } from '../../matrix/scene.ts';
import { checkFilled, makeImage } from '../../matrix/support/block.ts';
import { makeCertificates } from '../../matrix/support/certificates.ts';
import { serveNbd } from '../../matrix/support/nbd.ts';
import { exerciseDisk } from '../../matrix/support/traffic.ts';
import type { Vm } from '../../matrix/vm.ts';
import { diskOn, startLinux } from './io.ts';

const port = '10810';
/** Of QEMU, before it asks a second time. */
const pauseMs = 1000;

interface Way {
  readonly server: Readonly<Record<string, unknown>>;
  /** Of qemu-nbd. */
  readonly address: readonly string[];
  /** Of QEMU. */
  readonly args?: readonly string[];
  readonly options?: Readonly<Record<string, unknown>>;
}

const ways: Readonly<Record<string, (scene: Scene) => Way>> = {
  unix: (scene) => {
    const path = scene.path();
    return { server: { type: 'unix', path }, address: ['-k', path] };
  },
  tcp: () => ({ server: { type: 'inet', host: '127.0.0.1', port }, address: ['-b', '127.0.0.1', '-p', port] }),
  'TLS over tcp': (scene) => {
    const dir = scene.path();
    makeCertificates(dir);
    const credentials = (endpoint: string): readonly string[] => [
      '--object',
      `tls-creds-x509,id=tls0,endpoint=${endpoint},dir=${dir}`,
    ];
    return {
      server: { type: 'inet', host: '127.0.0.1', port },
      address: ['-b', '127.0.0.1', '-p', port, ...credentials('server'), '--tls-creds', 'tls0'],
      args: credentials('client'),
      options: { 'tls-creds': 'tls0', 'tls-hostname': 'localhost' },
    };
  },
};

const fillFrom = "tr '\\0' '\\245' </dev/zero | head -c 65536 | dd bs=64k iflag=fullblock conv=fsync";

export const nbdOnIothread: readonly Row[] = Object.entries(ways).map(
  ([kind, way]): Row => ({
    operation: `an NBD disk whose server goes away and comes back: ${kind}`,
    way: 'transparent',
    features: ['nbd'],
    run: async (scene) => {
      const { server, address, args = [], options = {} } = way(scene);
      const vm = await startLinux(scene, ...args);
      const image = makeImage(scene.path());
      const first = await serveNbd(scene, image, ...address);
      const drive = scene.name('nbd');
      const all = { server, export: 'disk', 'reconnect-delay': 120, ...options };
      await vm.qmp('blockdev-add', { driver: 'nbd', 'node-name': drive, ...all });
      const disk = await diskOn(scene, vm, drive);
      await exerciseDisk(scene, vm, disk);
      const descriptors = (): number => readdirSync(`/proc/${vm.sandbox.pid}/fd`).length;
      const before = descriptors();
      const ended = once(first, 'exit');
      first.kill();
      await ended;
      const from = vm.events.length;
      await vm.shell(`(${fillFrom} of=${disk} 2>/dev/null; echo $? >/tmp/written) &`);
      const [one, two] = await waitFor('two attempts', () => attemptsSince(vm, from));
      if (two - one < pauseMs / 2) throw new Error(`QEMU asked again after ${two - one} ms`);
      await serveNbd(scene, image, ...address);
      await vm.shellUntil('cat /tmp/written', /^0$/);
      checkFilled(image, 0xa5);
      if (descriptors() > before) throw new Error(`QEMU had ${before} descriptors and has ${descriptors()}`);
    },
  }),
);

/** When the broker connected for QEMU in vain: the first two times. */
function attemptsSince(vm: Vm, from: number): readonly [number, number] | undefined {
  const [one, two] = vm.events
    .slice(from)
    .filter(({ type, request }) => type === 'grant' && request === 'connect')
    .map(({ time }) => Date.parse(time));
  return one === undefined || two === undefined ? undefined : [one, two];
}
