// SPDX-License-Identifier: Apache-2.0
// Runs inside a network namespace: makes a TUN device, brings it up with an address, passes it over fd 3, and ends. The device lives as long as that descriptor.
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';

const native = createRequire(import.meta.url)('../../../build/Release/ratchet.node');
const [name, address, mtu] = process.argv.slice(2);
const flags = { tun: 0x0001, noPacketInformation: 0x1000 };
const tun = native.createTap({ name, flags: flags.tun | flags.noPacketInformation });
must('ip', ['address', 'add', address, 'dev', name]);
must('ip', ['link', 'set', name, 'mtu', mtu, 'up']);
must('ip', ['link', 'set', 'lo', 'up']);
native.sendMessage({ fd: 3, data: Buffer.from(name), fds: [tun.fd] });

function must(command, args) {
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
}
