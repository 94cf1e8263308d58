// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fstatSync, openSync, readdirSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { native, type Received } from '../../native/index.ts';
import { closesOnExec, failure, openFds } from './fds.ts';

const SOL_SOCKET = 1;
const SO_PASSCRED = 16;
const SO_PASSPIDFD = 76;
const maxFdsPerMessage = 253;

let left: number;
let right: number;
let before: number;
let nullFd: number;

beforeEach(() => {
  nullFd = openSync('/dev/null', 'r');
  [left, right] = native.socketPair({ type: 'seqpacket' });
  before = openFds();
});

afterEach(() => {
  expect(openFds()).toBe(before);
  for (const fd of [left, right, nullFd]) native.closeFd({ fd });
});

const send = (data: Uint8Array, fds: readonly number[] = []) => native.sendMessage({ fd: left, data, fds });
const receive = (maxFds = 0, maxBytes = 64): Received => native.receiveMessage({ fd: right, maxBytes, maxFds });
const text = Buffer.from('text');
const protocolError = { code: 'EPROTO', errno: 71, syscall: 'recvmsg' };

function received(maxFds: number): { data: Buffer; fds: readonly number[] } {
  const message = receive(maxFds);
  if (message.kind !== 'message') throw new Error(message.kind);
  return message;
}

describe('a message', () => {
  it('arrives with its bytes and no fds', () => {
    expect(send(text)).toBe(4);
    expect(receive()).toEqual({ kind: 'message', data: text, fds: [] });
    expect(receive()).toEqual({ kind: 'again' });
  });

  it.each([1, 2, 16, maxFdsPerMessage])('carries %i fds, close-on-exec, when as many are taken', (count) => {
    send(text, Array(count).fill(nullFd));
    const { data, fds } = received(count);
    expect(data).toEqual(text);
    expect(fds).toHaveLength(count);
    expect(new Set([...fds, nullFd]).size).toBe(count + 1);
    for (const fd of fds) {
      expect(fstatSync(fd).rdev).toBe(fstatSync(nullFd).rdev);
      expect(closesOnExec(fd)).toBe(true);
      native.closeFd({ fd });
    }
  });

  it('with fewer fds than permitted is a message', () => {
    send(text, [nullFd]);
    const { fds } = received(8);
    expect(fds).toHaveLength(1);
    native.closeFd({ fd: fds[0] as number });
  });

  it.each([
    [1, 0],
    [2, 0],
    [2, 1],
    [3, 1],
    [17, 16],
    [maxFdsPerMessage, 0],
    [maxFdsPerMessage, 252],
  ])('with %i fds where %i are permitted fails and leaves none', (sent, permitted) => {
    send(text, Array(sent).fill(nullFd));
    expect(failure(() => receive(permitted))).toEqual(protocolError);
    expect(openFds()).toBe(before);
    expect(receive()).toEqual({ kind: 'again' });
  });

  it('of more fds than the kernel carries is not sent', () => {
    expect(failure(() => send(text, Array(maxFdsPerMessage + 1).fill(nullFd)))).toMatchObject({ code: 'EINVAL' });
  });

  it('with an fd that is not open is not sent', () => {
    expect(failure(() => send(text, [nullFd, 1_000_000]))).toMatchObject({ code: 'EBADF', syscall: 'sendmsg' });
  });

  it('longer than permitted fails, and its fds are closed', () => {
    send(Buffer.alloc(65), [nullFd]);
    expect(failure(() => receive(1, 64))).toEqual(protocolError);
    send(Buffer.alloc(64));
    expect(receive(0, 64)).toMatchObject({ kind: 'message' });
  });

  it('without bytes is the end of the stream, but not when it brings fds', () => {
    send(Buffer.alloc(0), [nullFd]);
    const { data, fds } = received(1);
    expect(data).toHaveLength(0);
    expect(fds).toHaveLength(1);
    native.closeFd({ fd: fds[0] as number });
  });

  it.each([
    ['credentials', SO_PASSCRED],
    ['a pidfd', SO_PASSPIDFD],
  ])('with %s beside its fds fails and leaves none', (_, name) => {
    native.setSocketOption({ fd: right, level: SOL_SOCKET, name, value: 1 });
    send(text, [nullFd]);
    expect(failure(() => receive(4))).toEqual(protocolError);
    send(text);
    expect(failure(() => receive(4))).toEqual(protocolError);
  });

  it('whose fds find no free number fails, and the next one is whole', async () => {
    send(text, [nullFd, nullFd]);
    send(text, [nullFd]);
    const limit = Math.max(...readdirSync('/proc/self/fd').map(Number)) + 2;
    const restore = await lowerFdLimit(limit);
    const taken: number[] = [];
    try {
      while (taken.length < limit) taken.push(native.memfd({ name: 'taken', data: text, seal: false }));
    } catch (error) {
      expect(error).toMatchObject({ code: 'EMFILE' });
    }
    expect(failure(() => receive(2))).toEqual(protocolError);
    for (const fd of taken) native.closeFd({ fd });
    await restore();
    const { fds } = received(2);
    expect(fds).toHaveLength(1);
    native.closeFd({ fd: fds[0] as number });
  });

  it('on a stream is read in parts, and the end is told', () => {
    const [first, second] = native.socketPair({ type: 'stream' });
    native.sendMessage({ fd: first, data: Buffer.from('abcdef'), fds: [] });
    native.closeFd({ fd: first });
    const part = (maxBytes: number) => native.receiveMessage({ fd: second, maxBytes, maxFds: 0 });
    expect(part(4)).toMatchObject({ kind: 'message', data: Buffer.from('abcd') });
    expect(part(4)).toMatchObject({ kind: 'message', data: Buffer.from('ef') });
    expect(part(4)).toEqual({ kind: 'end' });
    native.closeFd({ fd: second });
  });
});

describe('the other end', () => {
  it('being closed is the end for a reader and EPIPE for a writer, without a signal', () => {
    const [first, second] = native.socketPair({ type: 'seqpacket' });
    native.closeFd({ fd: second });
    expect(native.receiveMessage({ fd: first, maxBytes: 8, maxFds: 0 })).toEqual({ kind: 'end' });
    expect(failure(() => native.sendMessage({ fd: first, data: text, fds: [] }))).toMatchObject({
      code: 'EPIPE',
      errno: 32,
    });
    native.closeFd({ fd: first });
  });

  it('being closed with unread messages leaves their fds nowhere', () => {
    const [first, second] = native.socketPair({ type: 'seqpacket' });
    native.sendMessage({ fd: first, data: text, fds: [nullFd, nullFd] });
    native.closeFd({ fd: second });
    native.closeFd({ fd: first });
  });

  it('not reading makes sendMessage say -1, and reading makes room again', () => {
    let sent = 0;
    while (send(Buffer.alloc(1024)) !== -1) sent++;
    expect(sent).toBeGreaterThan(10);
    expect(receive(0, 1024)).toMatchObject({ kind: 'message' });
    expect(send(text)).toBe(4);
    while (receive(0, 1024).kind === 'message') sent--;
    expect(sent).toBe(0);
  });
});

it('10,000 messages of every kind leave no fd open', () => {
  for (let round = 0; round < 10_000; round++) {
    send(text, Array(round % 5).fill(nullFd));
    try {
      const message = receive(2);
      if (message.kind === 'message') for (const fd of message.fds) native.closeFd({ fd });
    } catch (error) {
      expect(error).toMatchObject({ code: 'EPROTO' });
    }
  }
});

describe('wrong options', () => {
  it.each<[string, () => unknown, RegExp]>([
    ['no object', () => native.closeFd(3 as never), /closeFd: takes one options object/],
    ['a missing fd', () => native.closeFd({} as never), /closeFd: option "fd" must be an integer/],
    ['a negative fd', () => native.closeFd({ fd: -1 }), /"fd"/],
    ['an fd with a fraction', () => native.closeFd({ fd: 1.5 }), /"fd"/],
    ['an fd that is a string', () => native.closeFd({ fd: '3' } as never), /"fd"/],
    ['a huge fd', () => native.closeFd({ fd: 2 ** 32 }), /"fd"/],
    ['NaN', () => native.closeFd({ fd: Number.NaN }), /"fd"/],
    [
      'a type of socket',
      () => native.socketPair({ type: 'dgram' } as never),
      /socketPair: option "type" must be 'seqpacket', 'stream' or 'datagram'/,
    ],
    [
      'data of another kind',
      () => native.sendMessage({ fd: 0, data: 'x', fds: [] } as never),
      /"data" must be a Uint8Array/,
    ],
    [
      'data of wider numbers',
      () => native.sendMessage({ fd: 0, data: new Uint16Array(1), fds: [] } as never),
      /"data"/,
    ],
    [
      'fds that are no array',
      () => native.sendMessage({ fd: 0, data: text, fds: 3 } as never),
      /"fds" must be an array/,
    ],
    ['a bad fd among fds', () => native.sendMessage({ fd: 0, data: text, fds: [0, -1] }), /"fds"/],
    [
      'too many fds to take',
      () => native.receiveMessage({ fd: 0, maxBytes: 1, maxFds: 254 }),
      /"maxFds" must be an integer from 0 to 253/,
    ],
    ['no room', () => native.receiveMessage({ fd: 0, maxBytes: 0, maxFds: 0 }), /"maxBytes"/],
  ])('%s: a TypeError that names the option', (_, action, message) => {
    expect(action).toThrow(TypeError);
    expect(action).toThrow(message);
  });

  it('whose getter throws: that error', () => {
    const options = {
      get fd(): number {
        throw new RangeError('mine');
      },
    };
    expect(() => native.closeFd(options)).toThrow(RangeError);
  });

  it('closing what is not open: EBADF', () => {
    expect(failure(() => native.closeFd({ fd: 1_000_000 }))).toEqual({ code: 'EBADF', errno: 9, syscall: 'close' });
  });
});

/** Sets our soft RLIMIT_NOFILE; gives back what restores it, which needs no fd: the process that does it is there already. */
async function lowerFdLimit(soft: number): Promise<() => Promise<void>> {
  const script = `before=$(prlimit --pid ${process.pid} --nofile --noheadings --output SOFT | tr -d ' ')
    prlimit --pid ${process.pid} --nofile=${soft}: && echo lowered && read -r line
    prlimit --pid ${process.pid} --nofile=$before:`;
  const shell = spawn('sh', ['-c', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(shell.stdout, 'data');
  return async () => {
    shell.stdin.end('restore\n');
    await once(shell, 'close');
  };
}
