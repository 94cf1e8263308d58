// SPDX-License-Identifier: Apache-2.0
// Code that has taken a broker over: it runs in the broker's own confinement and tries what the argument names.
import { spawnSync } from 'node:child_process';
import { openSync, readFileSync, unlinkSync } from 'node:fs';
import { OwnConfinement } from '../../dist/brokers/confine.js';
import { decodeConfinement } from '../../dist/core/broker/protocol.js';
import { native } from '../../dist/native/index.js';

const own = await OwnConfinement.enter(decodeConfinement(readFileSync(3)));
const open = (path, flags) => native.openFile({ directoryFd: -100, path, flags, mode: 0, resolve: 0 });
const attempts = {
  'read the granted file': () => open(process.argv[3], 0),
  'write the file granted for reading': () => open(process.argv[3], 1),
  'read another file': () => open('/etc/hostname', 0),
  'open in its own thread': () => openSync(process.argv[3]),
  'remove a file': () => native.unlinkFile({ path: process.argv[3] }),
  'remove a file in its own thread': () => unlinkSync(process.argv[3]),
  'make a socket': () => native.createSocket({ domain: 2, type: 1, protocol: 0 }),
  'run a program': () => {
    const { error } = spawnSync('/bin/true');
    if (error) throw error;
  },
  "read another process's environment": () => open(`/proc/${process.argv[4]}/environ`, 0),
  "take a privileged process's descriptor": () =>
    native.getFdOfProcess({ pidfd: native.openPidfd({ pid: Number(process.argv[4]), thread: false }), fd: 0 }),
  'stop a process': () =>
    native.sendSignal({ pidfd: native.openPidfd({ pid: process.pid, thread: false }), signal: 19 }),
  'make a tap device': () => native.createTap({ name: 'rt%d', flags: 0x1002 }),
  'take all memory': () => Array.from({ length: 40 }, () => Buffer.alloc(16 * 1024 * 1024, 1)),
  'raise a limit': () => native.setOwnLimit({ resource: 7, value: 1 }),
  'make a socket when sealed': () => {
    own.seal();
    native.createSocket({ domain: 1, type: 1, protocol: 0 });
  },
};
try {
  attempts[process.argv[2]]();
  console.log('done');
} catch (error) {
  console.log(error.code ?? error.message);
}
process.exit(0);
