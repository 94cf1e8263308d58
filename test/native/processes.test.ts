// SPDX-License-Identifier: Apache-2.0
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fstatSync, readdirSync } from 'node:fs';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { native } from '../../native/index.ts';
import { packagePath } from '../../native/package-path.ts';
import { buildProgram } from './build-program.ts';
import { closesOnExec, failure, openFds, readable } from './fds.ts';

const ESRCH = { code: 'ESRCH', errno: 3 };
let probe: string;
let child: ChildProcess;
let pid: number;
let pidfd: number;

beforeAll(() => {
  probe = buildProgram('probe');
});

beforeEach(async () => {
  child = spawn(probe, ['memory', 'pause'], { stdio: ['ignore', 'pipe', 'inherit'] });
  pid = child.pid as number;
  pidfd = native.openPidfd({ pid, thread: false });
});

afterEach(async () => {
  native.closeFd({ fd: pidfd });
  if (child.exitCode === null && child.signalCode === null) {
    child.kill('SIGKILL');
    await once(child, 'close');
  }
});

async function output(pattern: RegExp): Promise<string> {
  let text = '';
  for await (const chunk of child.stdout ?? []) {
    text += String(chunk);
    const found = pattern.exec(text);
    if (found !== null) return found[1] as string;
  }
  throw new Error(`the program ended without ${pattern}`);
}

describe('a pidfd', () => {
  it('closes on exec, and is readable when the process has ended', async () => {
    expect(closesOnExec(pidfd)).toBe(true);
    native.sendSignal({ pidfd, signal: 15 });
    await readable(pidfd);
    const [, signal] = await once(child, 'close');
    expect(signal).toBe('SIGTERM');
    expect(failure(() => native.sendSignal({ pidfd, signal: 15 }))).toEqual({ ...ESRCH, syscall: 'pidfd_send_signal' });
  });

  it('of a thread can be had by its number, of a process only by its leader', () => {
    const other = Number(readdirSync('/proc/self/task').find((tid) => Number(tid) !== process.pid));
    native.closeFd({ fd: native.openPidfd({ pid: other, thread: true }) });
    // ENOENT since Linux 6.16, EINVAL before.
    expect(['ENOENT', 'EINVAL']).toContain(failure(() => native.openPidfd({ pid: other, thread: false })).code);
  });

  it('of nobody is ESRCH', () => {
    expect(failure(() => native.openPidfd({ pid: 2 ** 22 + 1, thread: false }))).toEqual({
      ...ESRCH,
      syscall: 'pidfd_open',
    });
    expect(() => native.openPidfd({ pid: 0, thread: false })).toThrow(
      /openPidfd: option "pid" must be an integer from 1/,
    );
  });

  it('takes no signal that there is not', () => {
    expect(failure(() => native.sendSignal({ pidfd, signal: 99 }))).toMatchObject({ code: 'EINVAL' });
  });
});

describe('getFdOfProcess', () => {
  it('gives the same open file, close-on-exec', () => {
    const fd = native.getFdOfProcess({ pidfd, fd: 0 });
    expect(closesOnExec(fd)).toBe(true);
    expect(fstatSync(fd).rdev).toBe(0x103); // The child's stdin is /dev/null, character device 1:3.
    native.closeFd({ fd });
  });

  it('says EBADF for a number that is not open, and leaves nothing after 5,000 calls', () => {
    const before = openFds();
    expect(failure(() => native.getFdOfProcess({ pidfd, fd: 999 }))).toEqual({
      code: 'EBADF',
      errno: 9,
      syscall: 'pidfd_getfd',
    });
    for (let round = 0; round < 5000; round++) native.closeFd({ fd: native.getFdOfProcess({ pidfd, fd: 0 }) });
    expect(openFds()).toBe(before);
  });
});

describe('readMemory', () => {
  it('reads exactly what was asked for, or nothing', async () => {
    const address = BigInt(await output(/text (\d+)/));
    expect(native.readMemory({ tid: pid, address, length: 4 }).toString()).toBe('text');
    expect(native.readMemory({ tid: pid, address, length: 0 })).toHaveLength(0);
    const fault = { code: 'EFAULT', errno: 14, syscall: 'process_vm_readv' };
    expect(failure(() => native.readMemory({ tid: pid, address, length: 5 }))).toEqual(fault);
    expect(failure(() => native.readMemory({ tid: pid, address: address + 4n, length: 1 }))).toEqual(fault);
    expect(failure(() => native.readMemory({ tid: pid, address: 0n, length: 1 }))).toEqual(fault);
    expect(failure(() => native.readMemory({ tid: pid, address: 2n ** 64n - 1n, length: 1 }))).toMatchObject({
      code: 'EFAULT',
    });
  });

  it('of nobody is ESRCH', () => {
    expect(failure(() => native.readMemory({ tid: 2 ** 22 + 1, address: 0n, length: 1 }))).toMatchObject(ESRCH);
  });

  it.each<[string, object]>([
    ['tid', { tid: 0, address: 0n, length: 1 }],
    ['address', { tid: 1, address: 0, length: 1 }],
    ['address', { tid: 1, address: -1n, length: 1 }],
    ['address', { tid: 1, address: 2n ** 64n, length: 1 }],
    ['length', { tid: 1, address: 0n, length: -1 }],
    ['length', { tid: 1, address: 0n, length: 2 ** 30 }],
  ])('takes no other %s: %o', (name, options) => {
    expect(() => native.readMemory(options as never)).toThrow(`option "${name}" must be`);
  });
});

describe('lookAtHoldings', () => {
  it('tells descriptors by their names, sockets by what they are, threads and children', () => {
    const { pid: own } = process;
    const [one, other] = native.socketPair({ type: 'datagram' });
    const self = native.openPidfd({ pid: own, thread: false });
    const { descriptors, threads } = native.lookAtHoldings({ pid: own, pidfd: self, descriptors: true });
    const socket = { tid: own, what: expect.stringMatching(/^socket:/), domain: 1, type: 2 };
    expect(descriptors).toContainEqual({ ...socket, fd: one });
    expect(descriptors).toContainEqual({ ...socket, fd: other });
    expect(descriptors).toContainEqual({ tid: own, fd: pidfd, what: expect.stringMatching(/pidfd/) });
    expect(threads.map(({ tid }) => `${tid}`)).toEqual(readdirSync('/proc/self/task'));
    expect(threads.flatMap(({ children }) => children)).toContain(pid);
    for (const fd of [one, other, self]) native.closeFd({ fd });
  });

  it('leaves descriptors out where they are not wanted', () => {
    const found = native.lookAtHoldings({ pid, pidfd, descriptors: false });
    expect(found).toMatchObject({ descriptors: [], mapsRing: false, threads: [{ tid: pid, name: 'probe' }] });
  });

  it('looks at no other process than that of the pidfd, and at none that has ended', async () => {
    expect(failure(() => native.lookAtHoldings({ pid: process.pid, pidfd, descriptors: true })).code).toBe('ESRCH');
    native.sendSignal({ pidfd, signal: 9 });
    await once(child, 'close');
    expect(failure(() => native.lookAtHoldings({ pid, pidfd, descriptors: true })).code).toBe('ESRCH');
  });
});

it('setParentDeathSignal ends a process with its parent', async () => {
  const source = `require(${JSON.stringify(packagePath('build/Release/ratchet.node'))}).setParentDeathSignal({ signal: 9 });
    console.log('pid ' + process.pid); setInterval(() => undefined, 1000);`;
  const shell = spawn('/bin/sh', ['-c', '"$@" & wait', 'sh', process.execPath, '-e', source], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = await once(shell.stdout, 'data');
  const orphan = native.openPidfd({ pid: Number(/pid (\d+)/.exec(String(line))?.[1]), thread: false });
  shell.kill('SIGKILL');
  await readable(orphan);
  native.closeFd({ fd: orphan });
  expect(failure(() => native.setParentDeathSignal({ signal: 999 }))).toEqual({
    code: 'EINVAL',
    errno: 22,
    syscall: 'prctl',
  });
});
