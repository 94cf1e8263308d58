// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { OwnedFd } from '../../../core/owned-fd.ts';
import { addressToSockaddr, parseAddress, socketFamily } from '../../../core/policy/address/index.ts';
import { native } from '../../../native/index.ts';
import { arpRequest, FramedPeer, ipv4, isArpReplyFrom } from '../../qemu/framed-peer.ts';
import type { Row } from '../row.ts';
import type { Scene } from '../scene.ts';
import { mustFail } from '../support/must-fail.ts';
import { addNic, guestIp, peerIp } from '../support/nic.ts';
import type { Vm } from '../vm.ts';

const port = 4466;
const tcp = { type: 'inet', host: '127.0.0.1', port: `${port}` } as const;
const onTcp = { host: '127.0.0.1', port } as const;

/** Frames reach the guest and come back: the peer asks for the guest's address, and the guest's new NIC answers. */
async function carries(scene: Scene, vm: Vm, netdev: string, peer: FramedPeer): Promise<void> {
  const nic = await addNic(scene, vm, netdev);
  const answer = await peer.whoHas(guestIp, peerIp);
  if (answer !== nic.mac) throw new Error(`${answer} answered, and not ${nic.mac}`);
  await nic.remove();
}

async function netdevAdd(scene: Scene, vm: Vm, options: Readonly<Record<string, unknown>>): Promise<string> {
  const id = scene.name('net');
  await vm.qmp('netdev_add', { id, ...options });
  return id;
}

const features = ['nic-socket'] as const;

const streams: readonly Row[] = [
  ...(['unix', 'tcp'] as const).flatMap((kind) => [
    {
      operation: `stream client: ${kind}`,
      way: 'transparent',
      features,
      run: async (scene: Scene) => {
        const vm = await scene.linux();
        const path = scene.path();
        await using peer = await FramedPeer.listen(kind === 'unix' ? path : onTcp);
        const addr = kind === 'unix' ? { type: 'unix', path } : tcp;
        await carries(scene, vm, await netdevAdd(scene, vm, { type: 'stream', server: false, addr }), peer);
      },
    } as const,
    {
      operation: `stream server: ${kind}`,
      way: 'transparent',
      features,
      run: async (scene: Scene) => {
        const vm = await scene.linux();
        const path = scene.path();
        const addr = kind === 'unix' ? { type: 'unix', path } : tcp;
        using listening = vm.sandbox.vmm.qmp.subscribe(['NETDEV_STREAM_CONNECTED']);
        const netdev = await netdevAdd(scene, vm, { type: 'stream', server: true, addr });
        await using peer = await connectWhenListening(kind === 'unix' ? { path } : onTcp);
        await listening.next(() => true, 20_000);
        await carries(scene, vm, netdev, peer);
      },
    } as const,
  ]),
  {
    operation: 'stream client: connected by the broker',
    way: 'fd',
    features,
    run: async (scene) => {
      const vm = await scene.linux();
      const path = scene.path();
      await using peer = await FramedPeer.listen(path);
      using connection = await vm.sandbox.connect(`unix:${path}`);
      // Not by a getfd name: this netdev connects in a thread that has no monitor to ask.
      const { fd } = await vm.qmp<{ readonly fd: number }>('add-fd', {}, [connection.fd]);
      const addr = { type: 'fd', str: `${fd}` };
      await carries(scene, vm, await netdevAdd(scene, vm, { type: 'stream', server: false, addr }), peer);
    },
  },
  {
    operation: 'socket: connect=',
    way: 'transparent',
    features,
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.linux();
      await using peer = await FramedPeer.listen(onTcp);
      await carries(scene, vm, await netdevAdd(scene, vm, { type: 'socket', connect: `127.0.0.1:${port}` }), peer);
    },
  },
  {
    operation: 'socket: listen=',
    way: 'transparent',
    features,
    run: async (scene) => {
      const vm = await scene.linux();
      const netdev = await netdevAdd(scene, vm, { type: 'socket', listen: `127.0.0.1:${port}` });
      await using peer = await FramedPeer.connect(onTcp);
      await carries(scene, vm, netdev, peer);
    },
  },
  {
    operation: 'socket: connected by the broker (hotplug.addNic)',
    way: 'fd',
    features,
    run: async (scene) => {
      const vm = await scene.linux();
      const path = scene.path();
      await using peer = await FramedPeer.listen(path);
      using connection = await vm.sandbox.connect(`unix:${path}`);
      await vm.qmp('getfd', { fdname: 'nic' }, [connection.fd]);
      await carries(scene, vm, await netdevAdd(scene, vm, { type: 'socket', fd: 'nic' }), peer);
    },
  },
  {
    operation: 'hubport: two netdevs joined',
    way: 'transparent',
    features,
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.linux();
      const path = scene.path();
      await using peer = await FramedPeer.listen(path);
      const outer = await netdevAdd(scene, vm, { type: 'stream', server: false, addr: { type: 'unix', path } });
      const joined = await netdevAdd(scene, vm, { type: 'hubport', hubid: 0, netdev: outer });
      await carries(scene, vm, await netdevAdd(scene, vm, { type: 'hubport', hubid: 0 }), peer);
      await vm.qmp('netdev_del', { id: joined });
      await vm.qmp('netdev_del', { id: outer });
    },
  },
  {
    operation: 'dgram on a datagram socket of the launcher',
    way: 'fd',
    features,
    run: async (scene) => {
      const vm = await scene.linux();
      const peer = createSocket('udp4');
      scene.onEnd(() => peer.close());
      peer.bind(port + 1, '127.0.0.1');
      await once(peer, 'listening');
      const datagram = 2;
      using ours = new OwnedFd(native.createSocket({ domain: socketFamily.inet, type: datagram, protocol: 0 }));
      const address = (number: number) => addressToSockaddr(parseAddress(`tcp:127.0.0.1:${number}`));
      native.bindSocket({ fd: ours.fd, address: address(port) });
      native.connectSocket({ fd: ours.fd, address: address(port + 1) });
      const { fd } = await vm.qmp<{ readonly fd: number }>('add-fd', {}, [ours.fd]);
      const nic = await addNic(
        scene,
        vm,
        await netdevAdd(scene, vm, { type: 'dgram', local: { type: 'fd', str: `${fd}` } }),
      );
      const answered = new Promise<void>((resolve) => {
        peer.on('message', (frame) => {
          if (frame.length >= 42 && isArpReplyFrom(frame, ipv4(guestIp))) resolve();
        });
      });
      peer.send(arpRequest(ipv4(guestIp), ipv4(peerIp)), port, '127.0.0.1');
      await answered;
      await nic.remove();
    },
  },
];

/** QEMU listens in a thread of its own. */
async function connectWhenListening(where: Parameters<typeof FramedPeer.connect>[0]): Promise<FramedPeer> {
  for (;;) {
    const peer = await FramedPeer.connect(where).catch(() => undefined);
    if (peer !== undefined) return peer;
  }
}

const kernelNetworks: readonly Row[] = [
  {
    operation: 'tap made by the broker (hotplug.addNic)',
    way: 'fd',
    run: async (scene) => {
      const vm = await scene.linux();
      using tap = (await vm.sandbox.tap('matrix%d')).fd;
      await vm.qmp('getfd', { fdname: 'tap' }, [tap.fd]);
      const netdev = await netdevAdd(scene, vm, { type: 'tap', fd: 'tap' });
      execFileSync('ip', ['address', 'add', `${peerIp}/24`, 'dev', 'matrix0']);
      const nic = await addNic(scene, vm, netdev);
      await vm.shell(`ping -c 1 -W 20 ${peerIp}`);
      await nic.remove();
    },
  },
  {
    operation: 'tap in a bridge',
    way: 'fd',
    longOnly: true,
    run: async (scene) => {
      const bridge = 'matrixbr';
      const ip = (...args: readonly string[]) => execFileSync('ip', args, { stdio: 'pipe' });
      ip('link', 'add', bridge, 'type', 'bridge');
      scene.onEnd(() => ip('link', 'del', bridge));
      ip('address', 'add', `${peerIp}/24`, 'dev', bridge);
      ip('link', 'set', bridge, 'up');
      const vm = await scene.start('linux', { allow: [{ request: 'tap', target: `matrix*@${bridge}` }] });
      using tap = (await vm.sandbox.tap('matrix%d', { bridge })).fd;
      await vm.qmp('getfd', { fdname: 'tap' }, [tap.fd]);
      const nic = await addNic(scene, vm, await netdevAdd(scene, vm, { type: 'tap', fd: 'tap' }));
      await vm.shell(`ping -c 1 -W 20 ${peerIp}`);
      await nic.remove();
    },
  },
  {
    operation: 'tap by the name of its interface',
    way: 'transparent',
    limit: {
      because:
        'QEMU attaches to the interface itself (TUNSETIFF), and whoever may do that can make and take any interface',
      instead: 'a tap descriptor of the broker (`fd=`; `hotplug.addNic`, `ratchet ctl nic add`)',
    },
    expects: ({ syscall }) => ['ioctl', 'open', 'openat', 'socket'].includes(String(syscall)),
    run: async (scene) => {
      const vm = await scene.counter();
      await mustFail(
        vm.qmp('netdev_add', { type: 'tap', id: 'tap', ifname: 'matrix1', script: 'no', downscript: 'no' }),
      );
    },
  },
  {
    operation: 'bridge, and tap with a helper',
    way: 'transparent',
    limit: {
      because: 'QEMU starts qemu-bridge-helper for it',
      instead:
        'a tap descriptor of the broker, which puts its interface into the bridge that the profile names (`tap=NAME@BRIDGE`; row "tap in a bridge")',
    },
    expects: ({ syscall }) => ['access', 'socketpair', 'clone', 'fork', 'vfork', 'execve'].includes(String(syscall)),
    run: async (scene) => {
      const vm = await scene.counter();
      await mustFail(vm.qmp('netdev_add', { type: 'bridge', id: 'bridge', br: 'br0' }));
    },
  },
  {
    operation: 'tap with vhost=on',
    way: 'fd',
    features: ['vhost-net'],
    missing: () => (existsSync('/dev/vhost-net') ? undefined : 'this kernel has no /dev/vhost-net'),
    run: async (scene) => {
      const vm = await scene.linux();
      using tap = (await vm.sandbox.tap('matrix%d')).fd;
      await vm.qmp('getfd', { fdname: 'tap' }, [tap.fd]);
      await (await addNic(scene, vm, await netdevAdd(scene, vm, { type: 'tap', fd: 'tap', vhost: true }))).remove();
    },
  },
  {
    operation: 'vhost-vdpa',
    way: 'fd',
    missing: () => 'this machine has no vDPA device',
    run: () => Promise.reject(new Error('not here')),
  },
  {
    operation: 'user: the guest reaches the network inside QEMU',
    way: 'in-process',
    run: async (scene) => {
      const vm = await scene.linux();
      const nic = await addNic(
        scene,
        vm,
        await netdevAdd(scene, vm, { type: 'user', net: '192.0.2.0/24', host: peerIp }),
      );
      await vm.shell(`ping -c 1 -W 20 ${peerIp}`);
      await nic.remove();
    },
  },
  ...(
    [
      ['dgram by address', { type: 'dgram', local: { type: 'inet', host: '127.0.0.1', port: `${port}` }, remote: tcp }],
      ['socket: mcast=', { type: 'socket', mcast: `230.0.0.1:${port}` }],
      ['socket: udp=', { type: 'socket', udp: `127.0.0.1:${port}`, localaddr: `127.0.0.1:${port + 1}` }],
      [
        'l2tpv3',
        { type: 'l2tpv3', src: '127.0.0.1', dst: '127.0.0.1', udp: true, srcport: '1', dstport: '2', txsession: 1 },
      ],
      ['vde', { type: 'vde', sock: '/run/vde' }],
    ] as const
  ).map(
    ([operation, options]): Row => ({
      operation,
      way: 'transparent',
      limit: {
        because:
          'QEMU makes a datagram socket of its own, which could send anywhere past the broker, and takes none instead',
        instead: 'dgram or stream on a descriptor, with a program beside QEMU that does the rest',
      },
      expects: ({ syscall }) =>
        ['socket', 'connect', 'open', 'openat', 'access', 'mkdir', 'bind', 'geteuid'].includes(String(syscall)),
      run: async (scene) => {
        const vm = await scene.counter();
        await mustFail(vm.qmp('netdev_add', { id: scene.name('net'), ...options }));
      },
    }),
  ),
];

export const netdev: readonly Row[] = [...streams, ...kernelNetworks];
