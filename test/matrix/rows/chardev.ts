// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { constants, createReadStream, createWriteStream, existsSync, openSync, readFileSync } from 'node:fs';
import { ReadStream } from 'node:tty';
import { GuestConsole } from '../../../core/demo/guest-console.ts';
import { waitFor } from '../../launch/processes.ts';
import { isAtLeast } from '../qemu-version.ts';
import type { Row } from '../row.ts';
import type { Scene } from '../scene.ts';
import { makeCertificates } from '../support/certificates.ts';
import { mustFail } from '../support/must-fail.ts';
import { Listener, Peer } from '../support/peer.ts';
import { addPort, type Port, talk } from '../support/port.ts';
import { guestMs, type Vm } from '../vm.ts';

type Backend = Readonly<Record<string, unknown>>;

async function portOn(scene: Scene, type: string, data: Backend, fds: readonly number[] = []): Promise<Port> {
  const vm = await scene.linux();
  const id = scene.name('chardev');
  if (fds.length > 0) await vm.qmp('getfd', { fdname: 'chardev' }, fds);
  await vm.qmp('chardev-add', { id, backend: { type, data } });
  return await addPort(scene, vm, id);
}

const unix = (path: string): Backend => ({ type: 'unix', data: { path } });
const tcp = { type: 'inet', data: { host: '127.0.0.1', port: '4455' } } as const;
const onTcp = { host: '127.0.0.1', port: 4455 } as const;
const byFd = { type: 'fd', data: { str: 'chardev' } } as const;

const sockets: readonly Row[] = [
  ...(['unix', 'tcp'] as const).map(
    (kind): Row => ({
      operation: `socket client: ${kind}`,
      way: 'transparent',
      run: async (scene) => {
        const path = scene.path();
        await using listener = await Listener.on(kind === 'unix' ? path : onTcp);
        const port = await portOn(scene, 'socket', { addr: kind === 'unix' ? unix(path) : tcp, server: false });
        await talk(port, await listener.accepted);
        await port.remove();
      },
    }),
  ),
  ...(['unix', 'tcp'] as const).map(
    (kind): Row => ({
      operation: `socket server: ${kind}`,
      way: 'transparent',
      run: async (scene) => {
        const path = scene.path();
        const addr = kind === 'unix' ? unix(path) : tcp;
        const port = await portOn(scene, 'socket', { addr, server: true, wait: false });
        const peer = Peer.connect(kind === 'unix' ? { path } : onTcp);
        await talk(port, peer);
        await port.remove();
      },
    }),
  ),
  {
    operation: 'socket client: connected by the broker',
    way: 'fd',
    run: async (scene) => {
      const path = scene.path();
      await using listener = await Listener.on(path);
      const vm = await scene.linux();
      using connection = await vm.sandbox.connect(`unix:${path}`);
      const port = await portOn(scene, 'socket', { addr: byFd, server: false }, [connection.fd]);
      await talk(port, await listener.accepted);
      await port.remove();
    },
  },
  {
    operation: 'socket server: listening socket of the broker',
    way: 'fd',
    run: async (scene) => {
      const path = scene.path();
      const vm = await scene.linux();
      using listening = await vm.sandbox.bind(`unix:${path}`, 1);
      const port = await portOn(scene, 'socket', { addr: byFd, server: true, wait: false }, [listening.fd]);
      await talk(port, Peer.connect({ path }));
      await port.remove();
    },
  },
  {
    operation: 'socket client that connects again when its server has come back',
    way: 'transparent',
    run: async (scene) => {
      const path = scene.path();
      // Nobody is there yet: QEMU tries again each second.
      const again = isAtLeast('9.2') ? { 'reconnect-ms': 1000 } : { reconnect: 1 };
      const port = await portOn(scene, 'socket', { addr: unix(path), server: false, ...again });
      await using listener = await Listener.on(path);
      await talk(port, await listener.accepted);
      await port.remove();
    },
  },
  {
    operation: 'telnet server',
    way: 'transparent',
    run: async (scene) => {
      const port = await portOn(scene, 'socket', { addr: tcp, server: true, wait: false, telnet: true });
      const peer = Peer.connect(onTcp);
      // It offers to echo: IAC WILL ...
      await peer.until(/ÿû./s);
      await talk(port, peer);
      await port.remove();
    },
  },
  {
    operation: 'WebSocket server',
    way: 'transparent',
    run: async (scene) => {
      const port = await portOn(scene, 'socket', { addr: tcp, server: true, wait: false, websocket: true });
      const peer = Peer.connect(onTcp);
      const key =
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: binary';
      peer.send(`GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n${key}\r\n\r\n`);
      await peer.until(/101 Switching/);
      await port.vm.shell(`echo from the guest >${port.path}`);
      await peer.until(/from the guest/);
      await port.remove();
    },
  },
  {
    operation: 'socket server: TLS over tcp',
    longOnly: true,
    way: 'transparent',
    run: async (scene) => {
      const folder = scene.path();
      makeCertificates(folder);
      const vm = await scene.start('linux', {
        args: ['-object', `tls-creds-x509,id=tls0,endpoint=server,dir=${folder},verify-peer=off`],
      });
      await vm.qmp('chardev-add', {
        id: 'tls',
        backend: { type: 'socket', data: { addr: tcp, server: true, wait: false, 'tls-creds': 'tls0' } },
      });
      const port = await addPort(scene, vm, 'tls');
      await talk(
        port,
        await Peer.connectTls({ ...onTcp, servername: 'localhost', ca: readFileSync(`${folder}/ca-cert.pem`) }),
      );
      await port.remove();
    },
  },
];

const files: readonly Row[] = [
  {
    operation: 'file',
    way: 'transparent',
    run: async (scene) => {
      const out = scene.path();
      const port = await portOn(scene, 'file', { out });
      await port.vm.shell(`echo from the guest >${port.path}`);
      await waitFor('the text in the file', () => readFileSync(out, 'utf8') === 'from the guest\n');
      await port.remove();
    },
  },
  {
    operation: 'file in an fdset',
    way: 'fd',
    features: ['output-files'],
    run: async (scene) => {
      const out = scene.path();
      const vm = await scene.linux();
      using file = await vm.sandbox.open(out, 'wo', { create: true });
      const { 'fdset-id': set } = await vm.qmp<{ readonly 'fdset-id': number }>('add-fd', {}, [file.fd]);
      const port = await portOn(scene, 'file', { out: `/dev/fdset/${set}` });
      await port.vm.shell(`echo from the guest >${port.path}`);
      await waitFor('the text in the file', () => readFileSync(out, 'utf8') === 'from the guest\n');
      await port.remove();
      await vm.qmp('remove-fd', { 'fdset-id': set });
    },
  },
  {
    operation: 'logfile of a chardev',
    way: 'transparent',
    run: async (scene) => {
      const logfile = scene.path();
      const port = await portOn(scene, 'ringbuf', { logfile });
      await port.vm.shell(`echo from the guest >${port.path}`);
      await waitFor('the text in the log', () => readFileSync(logfile, 'utf8') === 'from the guest\n');
      await port.remove();
    },
  },
  {
    operation: 'pipe',
    way: 'transparent',
    run: async (scene) => {
      const device = scene.path();
      execFileSync('mkfifo', [`${device}.in`, `${device}.out`]);
      const port = await portOn(scene, 'pipe', { device });
      const [output, input] = [createReadStream(`${device}.out`), createWriteStream(`${device}.in`)];
      scene.onEnd(() => [output, input].map((stream) => stream.destroy()));
      await talk(port, new Peer(output, input));
      await port.remove();
    },
  },
  {
    operation: 'pty',
    way: 'transparent',
    features: ['pty'],
    run: async (scene) => {
      const vm = await scene.linux();
      const { pty } = await vm.qmp<{ readonly pty: string }>('chardev-add', {
        id: 'pty',
        backend: { type: 'pty', data: {} },
      });
      const port = await addPort(scene, vm, 'pty');
      await talk(port, terminal(scene, pty));
      await port.remove();
    },
  },
];

const outputs: readonly Row[] = [
  {
    operation: 'stdio',
    way: 'in-process',
    run: async (scene) => {
      // There is one stdin and one stdout, so it comes with the command line; a port that prints is asked for a letter.
      const args = ['-chardev', 'stdio,id=stdio,signal=off', '-device', 'isa-debugcon,iobase=0xe9,chardev=stdio'];
      const vm = await scene.start('counter', { stdout: true, args });
      const out = new GuestConsole(vm.sandbox.stdout);
      for (const byte of ['A', '\n']) await vm.hmp(`o/b 0xe9 ${byte.charCodeAt(0)}`);
      await out.waitForLine(/^A$/, guestMs);
    },
  },
];

const inside: readonly Row[] = [
  {
    operation: 'ringbuf',
    way: 'in-process',
    run: async (scene) => {
      const port = await portOn(scene, 'ringbuf', { size: 1024 });
      await port.vm.shell(`echo from the guest >${port.path}`);
      await untilInRing(port.vm, port.chardev);
      await port.remove();
    },
  },
  {
    operation: 'mux in front of another chardev',
    way: 'in-process',
    run: async (scene) => {
      const vm = await scene.linux();
      const ring = scene.name('ring');
      await vm.qmp('chardev-add', { id: ring, backend: { type: 'ringbuf', data: { size: 1024 } } });
      const port = await portOn(scene, 'mux', { chardev: ring });
      await vm.shell(`echo from the guest >${port.path}`);
      await untilInRing(vm, ring);
      // A mux never lets go of what it was connected to.
      await port.unplug();
    },
  },
  {
    operation: 'null, then chardev-change to a file',
    way: 'transparent',
    run: async (scene) => {
      const port = await portOn(scene, 'null', {});
      const out = scene.path();
      await port.vm.qmp('chardev-change', { id: port.chardev, backend: { type: 'file', data: { out } } });
      await port.vm.shell(`echo from the guest >${port.path}`);
      await waitFor('the text in the file', () => readFileSync(out, 'utf8') === 'from the guest\n');
      await port.remove();
    },
  },
  ...(['vc', 'wctablet', 'msmouse', 'qemu-vdagent'] as const).map(
    (type): Row => ({
      operation: type,
      way: 'in-process',
      run: async (scene) => {
        const vm = await scene.counter();
        const [chardev, device] = [scene.name('chardev'), scene.name('serial')];
        await vm.qmp('chardev-add', { id: chardev, backend: { type, data: {} } });
        await vm.qmp('device_add', { driver: 'usb-serial', id: device, chardev });
        const found = await vm.qmp<readonly { readonly label: string }[]>('query-chardev');
        if (!found.some(({ label }) => label === chardev)) throw new Error('QEMU does not know it');
        using events = vm.sandbox.vmm.qmp.subscribe(['DEVICE_DELETED']);
        await vm.qmp('device_del', { id: device });
        await events.next(({ data }) => data['device'] === device, guestMs);
        await vm.qmp('chardev-remove', { id: chardev });
      },
    }),
  ),
  {
    operation: 'udp',
    way: 'transparent',
    limit: {
      because:
        'QEMU takes no descriptor for it, and a datagram socket that it makes itself could send anywhere past the broker',
      instead: 'a socket chardev; a program beside QEMU that forwards its stream as datagrams',
    },
    expects: ({ syscall }) => syscall === 'socket',
    run: async (scene) => {
      const vm = await scene.counter();
      const remote = { type: 'inet', data: { host: '127.0.0.1', port: '4456' } };
      await mustFail(vm.qmp('chardev-add', { id: 'udp', backend: { type: 'udp', data: { remote } } }));
    },
  },
  {
    operation: 'parallel',
    way: 'transparent',
    missing: () => (existsSync('/dev/parport0') ? undefined : 'this machine has no parallel port'),
    run: async (scene) => {
      await (await portOn(scene, 'parallel', { device: '/dev/parport0' })).remove();
    },
  },
  {
    operation: 'braille',
    way: 'transparent',
    missing: () => 'needs a running BrlTTY with a display',
    run: () => Promise.reject(new Error('not here')),
  },
];

async function untilInRing(vm: Vm, device: string): Promise<void> {
  await waitFor('the text in the ring', async () =>
    (await vm.qmp<string>('ringbuf-read', { device, size: 100 })).includes('from the guest'),
  );
}

/** The test's end of a terminal. */
function terminal(scene: Scene, path: string): Peer {
  execFileSync('stty', ['-F', path, 'raw', '-echo']);
  const stream = new ReadStream(openSync(path, constants.O_RDWR | constants.O_NOCTTY));
  scene.onEnd(() => stream.destroy());
  return new Peer(stream, stream);
}

export const chardev: readonly Row[] = [...sockets, ...files, ...outputs, ...inside];
