// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { openSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { native, type Watch } from '../../native/index.ts';
import { packagePath } from '../../native/package-path.ts';
import { failure, readable } from './fds.ts';

const addon = JSON.stringify(packagePath('build/Release/ratchet.node'));
const text = Buffer.from('text');

let left: number;
let right: number;

beforeEach(() => {
  [left, right] = native.socketPair({ type: 'stream' });
});

afterEach(() => {
  for (const fd of [left, right]) native.closeFd({ fd });
});

const send = (data: Uint8Array = text) => native.sendMessage({ fd: left, data, fds: [] });
const receive = () => native.receiveMessage({ fd: right, maxBytes: 64, maxFds: 0 });
const turnOfTheLoop = () => new Promise((resolve) => setImmediate(resolve));

describe('a watch', () => {
  it('calls back when there is something to read, again until it was read', async () => {
    send();
    let calls = 0;
    await new Promise<void>((resolve) => {
      const watch = native.watchFd({ fd: right, readable: true, writable: false }, (events) => {
        expect(events).toEqual({ readable: true, writable: false, hangup: false });
        if (++calls < 3) return;
        receive();
        watch.close();
        resolve();
      });
    });
    expect(calls).toBe(3);
  });

  it('calls back when there is room to write', async () => {
    const events = await new Promise((resolve) => {
      const watch = native.watchFd({ fd: right, readable: false, writable: true }, (happened) => {
        watch.close();
        resolve(happened);
      });
    });
    expect(events).toEqual({ readable: false, writable: true, hangup: false });
  });

  it('reports that the peer hung up, asked for or not', async () => {
    const [near, far] = native.socketPair({ type: 'stream' });
    native.closeFd({ fd: far });
    expect(await readable(near)).toEqual({ readable: true, writable: false, hangup: true });
    const events = await new Promise((resolve) => {
      const watch = native.watchFd({ fd: near, readable: false, writable: false }, (happened) => {
        watch.close();
        resolve(happened);
      });
    });
    expect(events).toEqual({ readable: false, writable: false, hangup: true });
    native.closeFd({ fd: near });
  });

  it('reports an error of the socket as everything that was asked for, once', async () => {
    const [near, far] = native.socketPair({ type: 'stream' });
    native.sendMessage({ fd: near, data: text, fds: [] });
    native.closeFd({ fd: far }); // With unread data: a reset.
    const calls: unknown[] = [];
    const watch = native.watchFd({ fd: near, readable: true, writable: true }, (events) => calls.push(events));
    await turnOfTheLoop();
    await turnOfTheLoop();
    await turnOfTheLoop();
    watch.close();
    expect(calls).toEqual([{ readable: true, writable: true, hangup: true }]);
    expect(failure(() => native.receiveMessage({ fd: near, maxBytes: 8, maxFds: 0 }))).toMatchObject({
      code: 'ECONNRESET',
    });
    native.closeFd({ fd: near });
  });

  it('may be closed twice, in its callback and after, and the fd be closed and reused at once', async () => {
    send();
    let calls = 0;
    await new Promise<void>((resolve) => {
      const watch = native.watchFd({ fd: right, readable: true, writable: false }, () => {
        calls++;
        watch.close();
        watch.close();
        native.closeFd({ fd: right });
        right = openSync('/dev/null', 'r'); // The same number.
        resolve();
      });
    });
    await turnOfTheLoop();
    expect(calls).toBe(1);
  });

  it('closed before anything happened never calls', async () => {
    send();
    const calls: unknown[] = [];
    native.watchFd({ fd: right, readable: true, writable: false }, (events) => calls.push(events)).close();
    await turnOfTheLoop();
    await turnOfTheLoop();
    expect(calls).toEqual([]);
  });

  it('can close another one that is ready in the same turn', async () => {
    const [near, far] = native.socketPair({ type: 'stream' });
    send();
    native.sendMessage({ fd: near, data: text, fds: [] });
    const called: number[] = [];
    const watches: Watch[] = [right, far].map((fd) =>
      native.watchFd({ fd, readable: true, writable: false }, () => {
        called.push(fd);
        for (const watch of watches) watch.close();
      }),
    );
    await turnOfTheLoop();
    await turnOfTheLoop();
    expect(called).toHaveLength(1);
    for (const fd of [near, far]) native.closeFd({ fd });
  });
});

describe('what cannot be watched', () => {
  it.each<[string, () => number, string]>([
    ['a plain file', () => openSync(import.meta.filename, 'r'), 'EPERM'],
    ['a number that is not open', () => 1_000_000, 'EBADF'],
  ])('%s', (_, open, code) => {
    const fd = open();
    expect(failure(() => native.watchFd({ fd, readable: true, writable: false }, () => undefined))).toMatchObject({
      code,
    });
    if (code === 'EPERM') native.closeFd({ fd });
  });

  it('an fd that is watched already', () => {
    const watch = native.watchFd({ fd: right, readable: true, writable: false }, () => undefined);
    expect(
      failure(() => native.watchFd({ fd: right, readable: true, writable: false }, () => undefined)),
    ).toMatchObject({
      code: 'EEXIST',
    });
    watch.close();
  });

  it('anything without a callback, or with options of other types', () => {
    const options = { fd: right, readable: true, writable: false };
    expect(() => native.watchFd(options, undefined as never)).toThrow(/watchFd: takes a callback/);
    expect(() => native.watchFd({ ...options, readable: 1 } as never, () => undefined)).toThrow(
      /"readable" must be a boolean/,
    );
  });
});

describe('the surroundings of a watch', () => {
  const program = (source: string, ...flags: string[]) => {
    const preamble = `const native = require(${addon}); const [left, right] = native.socketPair({ type: 'stream' });
      const send = () => native.sendMessage({ fd: left, data: Buffer.from('x'), fds: [] });`;
    return spawnSync(process.execPath, [...flags, '-e', preamble + source], { encoding: 'utf8', timeout: 30_000 });
  };

  it('an exception in the callback is an uncaught exception', () => {
    const result =
      program(`process.on('uncaughtException', (error) => { console.log(error.message); process.exit(3); });
      send(); native.watchFd({ fd: right, readable: true, writable: false }, () => { throw new Error('from the callback'); });`);
    expect(result).toMatchObject({ status: 3, stdout: 'from the callback\n' });
  });

  it('promises and ticks of the callback run before the next event', () => {
    const result = program(`send(); let ticks = 0; let calls = 0;
      const watch = native.watchFd({ fd: right, readable: true, writable: false }, () => {
        if (ticks !== calls * 2) process.exit(4);
        if (++calls === 3) watch.close();
        Promise.resolve().then(() => ticks++); process.nextTick(() => ticks++);
      });`);
    expect(result).toMatchObject({ status: 0 });
  });

  it('an open watch keeps the process alive, a closed one does not', () => {
    expect(
      program(`const watch = native.watchFd({ fd: right, readable: true, writable: false }, () => process.exit(5));
      setImmediate(send);`).status,
    ).toBe(5);
    expect(
      program('native.watchFd({ fd: right, readable: true, writable: false }, () => undefined).close();').status,
    ).toBe(0);
  });

  it('garbage collection of the object does not end the watch, nor of a closed one crash', () => {
    const result = program(
      `(() => native.watchFd({ fd: right, readable: true, writable: false }, () => process.exit(6)))();
      for (let i = 0; i < 200; i++) { const [a, b] = native.socketPair({ type: 'stream' });
        native.watchFd({ fd: a, readable: true, writable: false }, () => undefined).close(); native.closeFd({ fd: a }); native.closeFd({ fd: b }); }
      gc(); setImmediate(() => { gc(); gc(); send(); });`,
      '--expose-gc',
    );
    expect(result).toMatchObject({ status: 6, stderr: '' });
  });

  it('100,000 watches, opened and closed, leave neither fds nor memory behind', () => {
    const result = program(
      `const fds = () => require('node:fs').readdirSync('/proc/self/fd').length;
      const round = async () => { for (let i = 0; i < 10_000; i++) await new Promise((resolve) => {
        const watch = native.watchFd({ fd: right, readable: false, writable: true }, () => { watch.close(); resolve(); }); }); };
      const settle = async () => { for (let i = 0; i < 5; i++) { gc(); await new Promise(setImmediate); } return process.memoryUsage.rss(); };
      (async () => {
        for (let i = 0; i < 4; i++) await round();
        const before = { rss: await settle(), fds: fds() };
        for (let i = 0; i < 10; i++) await round();
        console.log(JSON.stringify({ bytesEach: ((await settle()) - before.rss) / 100_000, fds: fds() - before.fds }));
      })();`,
      '--expose-gc',
      '--max-semi-space-size=1', // Or the young generation's own growth would hide a leak.
    );
    const { bytesEach, fds } = JSON.parse(result.stdout) as { bytesEach: number; fds: number };
    expect(fds).toBe(0);
    expect(bytesEach).toBeLessThan(80); // A uv_poll_t alone has 160.
  });

  it('the process may exit with watches open', () => {
    const result = program(`native.watchFd({ fd: right, readable: true, writable: false }, () => undefined);
      native.watchFd({ fd: left, readable: true, writable: true }, () => process.exit(7));`);
    expect(result).toMatchObject({ status: 7, stderr: '' });
  });

  it('a worker may end with watches open', async () => {
    const source = `const native = require(${addon}); const [left, right] = native.socketPair({ type: 'stream' });
      native.watchFd({ fd: right, readable: true, writable: false }, () => undefined);
      native.watchFd({ fd: left, readable: true, writable: false }, () => undefined);
      require('node:worker_threads').parentPort.postMessage('ready');`;
    for (let round = 0; round < 3; round++) {
      const worker = new Worker(source, { eval: true });
      await new Promise((resolve) => worker.once('message', resolve));
      expect(await worker.terminate()).toBe(1);
    }
  });
});
