// SPDX-License-Identifier: Apache-2.0
// Notifications of a real child under a real filter.
import { beforeAll, describe, expect, it } from 'vitest';
import { type Notification, native } from '../../native/index.ts';
import { nr, verdict } from './assemble.ts';
import { buildProgram } from './build-program.ts';
import { failure, openFds, readable } from './fds.ts';
import { type Staged, stage } from './stage.ts';

let probe: string;

beforeAll(() => {
  probe = buildProgram('probe');
});

interface Notified {
  readonly staged: Staged;
  readonly listenerFd: number;
}

async function notified(number: number, words: readonly string[], options: readonly string[] = []): Promise<Notified> {
  const staged = stage({
    program: probe,
    argv: ['probe', ...words],
    rules: [{ nr: number, verdict: verdict.notify }],
    options,
  });
  const listenerFd = (await staged.packet())?.fds[0] as number;
  return { staged, listenerFd };
}

async function next(listenerFd: number): Promise<Notification> {
  for (;;) {
    const events = await readable(listenerFd);
    const notification = native.receiveNotification({ listenerFd });
    if (notification !== undefined) return notification;
    if (events.hangup) throw new Error('the child has ended');
  }
}

/** Lets every open pass but the granted one, as the loader opens libraries first. */
async function nextGranted(listenerFd: number): Promise<Notification> {
  for (;;) {
    const notification = await next(listenerFd);
    if (pathOf(notification) === '/nonexistent/granted') return notification;
    native.answerNotification({ listenerFd, id: notification.id, answer: { kind: 'continue' } });
  }
}

function pathOf({ tid, args }: Notification): string {
  const memory = native.readMemory({ tid, address: args[1], length: 21 });
  return memory.subarray(0, memory.includes(0) ? memory.indexOf(0) : undefined).toString();
}

async function finish({ staged, listenerFd }: Notified): Promise<string> {
  const text = await staged.stdout;
  await staged.ended;
  native.closeFd({ fd: listenerFd });
  staged.close();
  return text;
}

describe('a notification', () => {
  it('shows the call, and is answered with a value', async () => {
    const child = await notified(nr.getppid, ['call-value']);
    const { listenerFd } = child;
    const notification = await next(listenerFd);
    expect(notification).toEqual({
      id: expect.any(BigInt),
      tid: child.staged.child.pid,
      nr: nr.getppid,
      auditArch: 0xc000003e,
      instructionPointer: expect.any(BigInt),
      args: Array(6).fill(expect.any(BigInt)),
    });
    const { id } = notification;
    expect(native.notificationValid({ listenerFd, id })).toBe(true);
    expect(native.notificationValid({ listenerFd, id: id + 1n })).toBe(false);
    expect(native.answerNotification({ listenerFd, id, answer: { kind: 'value', value: 2n ** 40n } })).toBe(true);
    expect(await finish(child)).toBe(`getppid ${2 ** 40}\n`);
  });

  it.each([
    ['errno', { kind: 'errno', errno: 13 }, 'getppid EACCES\n'],
    ['errno', { kind: 'errno', errno: 38 }, 'getppid ENOSYS\n'],
    ['value', { kind: 'value', value: 0n }, 'getppid ok\n'],
    ['continue', { kind: 'continue' }, 'getppid ok\n'],
  ] as const)('is answered with %s %o', async (_, answer, text) => {
    const child = await notified(nr.getppid, ['call']);
    const { id } = await next(child.listenerFd);
    expect(native.answerNotification({ listenerFd: child.listenerFd, id, answer })).toBe(true);
    expect(await finish(child)).toBe(text);
  });

  it('that continues is performed by the kernel', async () => {
    const child = await notified(nr.getppid, ['call-value']);
    const { id } = await next(child.listenerFd);
    native.answerNotification({ listenerFd: child.listenerFd, id, answer: { kind: 'continue' } });
    expect(await finish(child)).toBe(`getppid ${process.pid}\n`);
  });

  it('of a killed caller is gone: undefined before, false after it was received', async () => {
    const child = await notified(nr.getppid, ['killed-caller', 'killed-caller']);
    const { listenerFd, staged } = child;
    const lines = linesOf(staged);

    const { id, tid } = await next(listenerFd);
    expect(await lines()).toBe(`child ${tid}`);
    process.kill(tid, 'SIGKILL');
    expect(await lines()).toBe('killed 9');
    expect(native.notificationValid({ listenerFd, id })).toBe(false);
    expect(native.answerNotification({ listenerFd, id, answer: { kind: 'errno', errno: 1 } })).toBe(false);
    expect(native.answerWithFd({ listenerFd, id, fd: 0, closeOnExec: true })).toBe(false);

    const second = Number((await lines()).split(' ')[1]);
    await readable(listenerFd);
    process.kill(second, 'SIGKILL');
    expect(await lines()).toBe('killed 9');
    expect(native.receiveNotification({ listenerFd })).toBeUndefined();
    await finish(child);
  });

  it('is not waited for: receiveNotification says undefined when there is none', async () => {
    const child = await notified(nr.getppid, ['pause']);
    expect(native.receiveNotification({ listenerFd: child.listenerFd })).toBeUndefined();
    child.staged.child.kill('SIGKILL');
    await finish(child);
  });

  it('is no more when the child has ended: the listener hangs up', async () => {
    const child = await notified(nr.getppid, ['fds']);
    expect(await readable(child.listenerFd)).toMatchObject({ hangup: true });
    expect(native.receiveNotification({ listenerFd: child.listenerFd })).toBeUndefined();
    await finish(child);
  });

  it('left unanswered by a closed listener is ENOSYS for the caller', async () => {
    const { staged, listenerFd } = await notified(nr.getppid, ['call']);
    await next(listenerFd);
    native.closeFd({ fd: listenerFd });
    expect(await staged.stdout).toBe('getppid ENOSYS\n');
    await staged.ended;
    staged.close();
  });
});

describe('answerWithFd', () => {
  it.each([
    [true, 1],
    [false, 0],
  ])('gives the caller the file (close-on-exec: %s)', async (closeOnExec, flag) => {
    const child = await notified(nr.openat, ['open-granted']);
    const { id } = await nextGranted(child.listenerFd);
    const fd = native.memfd({ name: 'granted', data: Buffer.from('contents'), seal: true });
    expect(native.answerWithFd({ listenerFd: child.listenerFd, id, fd, closeOnExec })).toBe(true);
    native.closeFd({ fd });
    expect(await finish(child)).toBe(`open ok contents ${flag}\n`);
  });

  it('says EMFILE when the caller has no number free, and it can still be answered', async () => {
    const child = await notified(nr.openat, ['fill', 'open-granted'], ['--rlimit', 'NOFILE=32:32']);
    const { listenerFd } = child;
    const { id } = await nextGranted(listenerFd);
    expect(failure(() => native.answerWithFd({ listenerFd, id, fd: 0, closeOnExec: true }))).toMatchObject({
      code: 'EMFILE',
      syscall: 'ioctl',
    });
    expect(native.answerNotification({ listenerFd, id, answer: { kind: 'errno', errno: 24 } })).toBe(true);
    expect(await finish(child)).toBe('open EMFILE  -1\n');
  });

  it('of an fd that is not ours fails, and the caller can still be answered', async () => {
    const child = await notified(nr.openat, ['open-granted']);
    const { listenerFd } = child;
    const { id } = await nextGranted(listenerFd);
    expect(failure(() => native.answerWithFd({ listenerFd, id, fd: 1_000_000, closeOnExec: true }))).toMatchObject({
      code: 'EBADF',
    });
    native.answerNotification({ listenerFd, id, answer: { kind: 'errno', errno: 2 } });
    expect(await finish(child)).toBe('open ENOENT  -1\n');
  });
});

it('setSyncWakeUp is taken by this kernel and changes no answer', async () => {
  const child = await notified(nr.getppid, ['call-value']);
  expect(native.setSyncWakeUp({ listenerFd: child.listenerFd })).toBe(true);
  const { id } = await next(child.listenerFd);
  native.answerNotification({ listenerFd: child.listenerFd, id, answer: { kind: 'value', value: 7n } });
  expect(await finish(child)).toBe('getppid 7\n');
});

it('200 children leave no fd', async () => {
  const before = openFds();
  for (let round = 0; round < 200; round++) {
    const child = await notified(nr.getppid, ['call']);
    const { id } = await next(child.listenerFd);
    native.answerNotification({ listenerFd: child.listenerFd, id, answer: { kind: 'errno', errno: 1 } });
    await finish(child);
  }
  expect(openFds()).toBe(before);
});

describe('wrong options', () => {
  const id = 1n;
  it.each<[string, () => unknown, RegExp]>([
    ['listener', () => native.receiveNotification({} as never), /receiveNotification: option "listenerFd"/],
    [
      'id',
      () => native.notificationValid({ listenerFd: 0, id: 1 } as never),
      /notificationValid: option "id" must be a bigint/,
    ],
    [
      'answer',
      () => native.answerNotification({ listenerFd: 0, id, answer: 'continue' } as never),
      /option "answer" must be an object/,
    ],
    [
      'kind',
      () => native.answerNotification({ listenerFd: 0, id, answer: { kind: 'allow' } } as never),
      /option "answer.kind" must be 'value', 'errno' or 'continue'/,
    ],
    [
      'errno 0',
      () => native.answerNotification({ listenerFd: 0, id, answer: { kind: 'errno', errno: 0 } }),
      /"answer.errno" must be an integer from 1 to 4095/,
    ],
    [
      'a negative errno',
      () => native.answerNotification({ listenerFd: 0, id, answer: { kind: 'errno', errno: -13 } }),
      /"answer.errno"/,
    ],
    [
      'value',
      () => native.answerNotification({ listenerFd: 0, id, answer: { kind: 'value', value: 1 } } as never),
      /"answer.value" must be a bigint/,
    ],
    ['fd', () => native.answerWithFd({ listenerFd: 0, id, fd: -1, closeOnExec: true }), /answerWithFd: option "fd"/],
  ])('%s: a TypeError that names the option', (_, action, message) => {
    expect(action).toThrow(TypeError);
    expect(action).toThrow(message);
  });

  it('an fd that is no listener is an error of the kernel', () => {
    const [left, right] = native.socketPair({ type: 'stream' });
    const answer = { kind: 'continue' } as const;
    expect(failure(() => native.answerNotification({ listenerFd: left, id, answer }))).toMatchObject({
      code: 'ENOTTY',
      syscall: 'ioctl',
    });
    expect(failure(() => native.notificationValid({ listenerFd: left, id }))).toMatchObject({ code: 'ENOTTY' });
    for (const fd of [left, right]) native.closeFd({ fd });
  });
});

/** The child's output line by line. The stream was read to its end by `staged.stdout` as well: both see every byte. */
function linesOf(staged: Staged): () => Promise<string> {
  let text = '';
  let wake: () => void = () => undefined;
  staged.child.stdout?.on('data', (chunk) => {
    text += String(chunk);
    wake();
  });
  return async () => {
    while (!text.includes('\n')) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    const end = text.indexOf('\n');
    const line = text.slice(0, end);
    text = text.slice(end + 1);
    return line;
  };
}
