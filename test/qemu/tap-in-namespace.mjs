// SPDX-License-Identifier: Apache-2.0
// Runs inside a network namespace of its own: makes a tap device, brings it up with an address, and passes it over fd 3 with its name.
// Then it pings, from inside the namespace, each address that comes on stdin and prints the result. Ends, and with it the namespace, at
// the end of stdin.
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const native = createRequire(import.meta.url)('../../build/Release/ratchet.node');
const [requested, address] = process.argv.slice(2);
const flags = { tap: 0x0002, noPacketInformation: 0x1000, virtioNetHeader: 0x4000 };
const { fd, name } = native.createTap({
  name: requested,
  flags: flags.tap | flags.noPacketInformation | flags.virtioNetHeader,
});
must('ip', ['address', 'add', address, 'dev', name]);
native.setInterfaceUp({ name, up: true });
native.sendMessage({ fd: 3, data: Buffer.from(name), fds: [fd] });
native.closeFd({ fd });

for await (const target of createInterface({ input: process.stdin })) {
  const { status } = spawnSync('busybox', ['ping', '-c', '1', '-W', '10', target]);
  process.stdout.write(`${status === 0 ? 'answered' : 'silent'}\n`);
}

function must(command, args) {
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
}
