// SPDX-License-Identifier: Apache-2.0
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { withDeadline } from '../../core/deferred.ts';
import { RatchetError } from '../../core/errors.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import { type ChannelHost, serveChannel } from '../../core/program/channel.ts';
import { native } from '../../native/index.ts';
import { openFds, readable } from '../native/fds.ts';

/** Says what it was asked for, and hands out memory files. */
class Host implements ChannelHost {
  readonly asked: string[] = [];
  async enter(stage: string): Promise<void> {
    this.asked.push(`enter ${stage}`);
    if (stage === 'start') throw new RatchetError('STAGE_BACKWARDS', 'no way\nback');
  }
  connect = (address: string) => this.#give(`connect ${address}`);
  bind = (address: string, backlog: number) => this.#give(`bind ${address} ${backlog}`);
  open = (path: string, access: string) => this.#give(`open ${path} ${access}`);
  async #give(what: string): Promise<OwnedFd> {
    this.asked.push(what);
    return new OwnedFd(native.memfd({ name: 'given', data: Buffer.from(what), seal: true }));
  }
}

let host: Host;
let ours: number;
let served: { close(): void };
let before: number;

beforeEach(() => {
  before = openFds();
  host = new Host();
  const [first, second] = native.socketPair({ type: 'stream' });
  ours = first;
  served = serveChannel(new OwnedFd(second), host);
});

afterEach(() => {
  served.close();
  native.closeFd({ fd: ours });
  expect(openFds()).toBe(before);
});

function say(text: string): void {
  native.sendMessage({ fd: ours, data: Buffer.from(text), fds: [] });
}

/** One answer, and whether a descriptor came with it; undefined when the channel was closed. */
async function hear(): Promise<{ readonly text: string; readonly fds: number } | undefined> {
  for (;;) {
    await withDeadline(readable(ours), 10_000, () => new Error('no answer'));
    const received = native.receiveMessage({ fd: ours, maxBytes: 4096, maxFds: 1 });
    if (received.kind === 'end') return undefined;
    if (received.kind === 'again') continue;
    for (const fd of received.fds) native.closeFd({ fd });
    return { text: received.data.toString(), fds: received.fds.length };
  }
}

describe('the channel of a program', () => {
  it.each([
    ['stage running\n', 'enter running', 0],
    ['connect tcp:127.0.0.1:80\n', 'connect tcp:127.0.0.1:80', 1],
    ['bind unix:/run/x 5\n', 'bind unix:/run/x 5', 1],
    ['open ro /a path with spaces\n', 'open /a path with spaces ro', 1],
  ])('does %j', async (request, asked, fds) => {
    say(request);
    expect(await hear()).toEqual({ text: 'ok\n', fds });
    expect(host.asked).toEqual([asked]);
  });

  it('takes a line in pieces, and several at once, in order', async () => {
    say('stage ru');
    say('nning\nstage sealed\nsta');
    let text = '';
    while (text !== 'ok\nok\n') text += (await hear())?.text ?? '(closed)';
    expect(host.asked).toEqual(['enter running', 'enter sealed']);
  });

  it.each([
    ['stage start\n', 'error STAGE_BACKWARDS no way back\n'],
    ['dance\n', 'error ARGUMENT_INVALID there is no request "dance"'],
    ['\n', 'error ARGUMENT_INVALID there is no request ""'],
    ['open x /etc/passwd\n', 'error ARGUMENT_INVALID x is no way to open a file'],
    ['bind unix:/x -1\n', 'error ARGUMENT_INVALID -1 is no backlog'],
    ['bind unix:/x 1e9\n', 'error ARGUMENT_INVALID 1e9 is no backlog'],
  ])('answers %j with an error of one line', async (request, answer) => {
    say(request);
    const heard = await hear();
    expect(heard?.text.startsWith(answer)).toBe(true);
    expect(heard?.text.indexOf('\n')).toBe((heard?.text.length ?? 0) - 1);
    expect(heard?.fds).toBe(0);
  });

  it.each([
    ['a line without an end', 'x'.repeat(10_000)],
    ['more requests than it reads answers to', 'dance\n'.repeat(1000)],
  ])('closes on %s', async (_, flood) => {
    say(flood);
    let heard = await hear();
    while (heard !== undefined) heard = await hear();
  });

  it('closes on a descriptor, and keeps none', async () => {
    const gift = native.memfd({ name: 'gift', data: Buffer.from('x'), seal: true });
    native.sendMessage({ fd: ours, data: Buffer.from('stage running\n'), fds: [gift] });
    native.closeFd({ fd: gift });
    expect(await hear()).toBeUndefined();
    expect(host.asked).toEqual([]);
  });
});
