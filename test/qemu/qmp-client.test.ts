// SPDX-License-Identifier: Apache-2.0
import { fstatSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { OwnedFd } from '../../core/owned-fd.ts';
import { native } from '../../native/index.ts';
import { FakeQemu, greeting } from './fake-qemu.ts';

const event = (name: string, data: object = {}): string =>
  `${JSON.stringify({ timestamp: { seconds: 1, microseconds: 2 }, event: name, data })}\r\n`;

describe('commands', () => {
  test('negotiation waits for the greeting and gives the version', async () => {
    using qemu = new FakeQemu();
    const version = qemu.client.negotiate();
    qemu.send(greeting);
    const command = await qemu.command();
    expect(command.execute).toBe('qmp_capabilities');
    qemu.answer(command);
    expect(await version).toEqual({ major: 7, minor: 2, micro: 22 });
  });

  test('a silent monitor is a timeout', async () => {
    using qemu = new FakeQemu({ timeoutMs: 20 });
    await expect(qemu.client.negotiate()).rejects.toMatchObject({
      code: 'QMP_TIMEOUT',
      message: expect.stringContaining('greet'),
    });
  });

  test('replies find their command by id, and a reply to nobody is passed over', async () => {
    using qemu = new FakeQemu();
    const status = qemu.client.execute('query-status', {});
    const command = await qemu.command();
    qemu.send('{"return": {"status": "wrong", "running": true}, "id": 4711}\r\n');
    qemu.answer(command, { status: 'running', running: true });
    expect(await status).toEqual({ status: 'running', running: true });
  });

  test('commands are sent one at a time, in order', async () => {
    using qemu = new FakeQemu();
    const first = qemu.client.executeAny('first');
    const second = qemu.client.executeAny('second', { a: 1 });
    const one = await qemu.command();
    expect(one.execute).toBe('first');
    qemu.answer(one, 1);
    expect(await first).toBe(1);
    const two = await qemu.command();
    expect(two).toMatchObject({ execute: 'second', arguments: { a: 1 } });
    qemu.answer(two, 2);
    expect(await second).toBe(2);
  });

  test('questions are sent together, and what changes something waits until they are answered', async () => {
    using qemu = new FakeQemu();
    const asked = ['one', 'other'].map((name) => qemu.client.executeAny(name, {}, { question: true }));
    const act = qemu.client.executeAny('act');
    const later = qemu.client.executeAny('later', {}, { question: true });
    const [one, other] = [await qemu.command(), await qemu.command()];
    expect([one, other]).toMatchObject([{ execute: 'one' }, { execute: 'other' }]);
    qemu.answer(other, 2);
    expect(await asked[1]).toBe(2);
    qemu.answer(one, 1);
    expect(await asked[0]).toBe(1);
    const acted = await qemu.command();
    expect(acted.execute).toBe('act');
    qemu.answer(acted);
    await act;
    const last = await qemu.command();
    expect(last.execute).toBe('later');
    qemu.answer(last);
    await later;
  });

  test('a refusal carries the command, the class and the description, without control characters', async () => {
    using qemu = new FakeQemu();
    const refused = qemu.client.executeAny('device_add');
    const { id } = await qemu.command();
    qemu.send(`{"error": {"class": "DeviceNotFound", "desc": "no \\u001b[31mdevice"}, "id": ${id}}\r\n`);
    await expect(refused).rejects.toMatchObject({
      code: 'QMP_ERROR',
      command: 'device_add',
      qmpClass: 'DeviceNotFound',
      description: 'no ?[31mdevice',
      message: 'QEMU refused device_add: DeviceNotFound: no ?[31mdevice',
    });
  });

  test('a reply that has not the documented form is an error that names the command', async () => {
    using qemu = new FakeQemu();
    const cpus = qemu.client.execute('query-cpus-fast', {});
    qemu.answer(await qemu.command(), [{ 'cpu-index': 0, 'thread-id': -1 }]);
    await expect(cpus).rejects.toMatchObject({ code: 'QMP_ERROR', command: 'query-cpus-fast' });
  });

  test('a timeout names the command; the late answer is not taken for the next one', async () => {
    using qemu = new FakeQemu();
    const slow = qemu.client.executeAny('slow', {}, { timeoutMs: 20 });
    const next = qemu.client.executeAny('next');
    const command = await qemu.command();
    await expect(slow).rejects.toMatchObject({ code: 'QMP_TIMEOUT', message: 'QEMU did not answer slow within 20 ms' });
    qemu.answer(command, 'too late');
    const second = await qemu.command();
    expect(second.execute).toBe('next');
    qemu.answer(second, 'in time');
    expect(await next).toBe('in time');
  });

  test('a command that waits for its turn times out too, and is never sent', async () => {
    using qemu = new FakeQemu();
    const slow = qemu.client.executeAny('slow');
    await expect(qemu.client.executeAny('waiting', {}, { timeoutMs: 20 })).rejects.toMatchObject({
      message: expect.stringContaining('waiting'),
    });
    const last = qemu.client.executeAny('last');
    qemu.answer(await qemu.command());
    await slow;
    const command = await qemu.command();
    expect(command.execute).toBe('last');
    qemu.answer(command);
    await last;
  });
});

describe('descriptors', () => {
  test('travel with their command and stay open here', async () => {
    using qemu = new FakeQemu();
    using file = new OwnedFd(native.memfd({ name: 'passed', data: Buffer.from('content'), seal: false }));
    const done = qemu.client.execute('getfd', { fdname: 'x' }, { fds: [file.fd] });
    const command = await qemu.command();
    expect(qemu.fds).toHaveLength(1);
    expect(readFileSync(`/proc/self/fd/${qemu.fds[0]?.fd}`, 'utf8')).toBe('content');
    qemu.answer(command);
    await done;
    expect(fstatSync(file.fd).size).toBe('content'.length);
  });

  test('a command larger than the socket takes at once arrives whole, its descriptor once', async () => {
    using qemu = new FakeQemu();
    using file = new OwnedFd(native.memfd({ name: 'passed', data: Buffer.alloc(1), seal: false }));
    const text = 'x'.repeat(3 * 1024 * 1024);
    const done = qemu.client.executeAny('large', { text }, { fds: [file.fd] });
    const command = await qemu.command();
    expect(command.arguments).toEqual({ text });
    expect(qemu.fds).toHaveLength(1);
    qemu.answer(command);
    await done;
  });

  test('a monitor that sends descriptors is closed', async () => {
    using qemu = new FakeQemu();
    using file = new OwnedFd(native.memfd({ name: 'unwanted', data: Buffer.alloc(1), seal: false }));
    const pending = qemu.client.executeAny('anything');
    await qemu.command();
    qemu.send(event('X'), [file.fd]);
    await expect(pending).rejects.toMatchObject({ code: 'QMP_CLOSED' });
  });
});

describe('events', () => {
  test('one that comes before the reply to its command is not missed', async () => {
    using qemu = new FakeQemu();
    const stopped = qemu.client.waitForEvent('STOP');
    const done = qemu.client.executeAny('stop');
    const command = await qemu.command();
    qemu.send(event('STOP', { by: 'command' }));
    qemu.answer(command);
    await done;
    expect(await stopped).toEqual({ name: 'STOP', data: { by: 'command' } });
  });

  test('a subscription keeps what came before anyone asked, and the predicate chooses', async () => {
    using qemu = new FakeQemu();
    using deleted = qemu.client.subscribe(['DEVICE_DELETED']);
    qemu.send(event('DEVICE_DELETED', { device: 'a' }) + event('OTHER') + event('DEVICE_DELETED', { device: 'b' }));
    expect((await deleted.next(({ data }) => data.device === 'b', 1000)).data).toEqual({ device: 'b' });
  });

  test('a timeout names the event, and the one that comes later goes to whoever asks next', async () => {
    using qemu = new FakeQemu();
    using events = qemu.client.subscribe(['LATE']);
    await expect(events.next(() => true, 20)).rejects.toMatchObject({
      code: 'QMP_TIMEOUT',
      message: expect.stringContaining('LATE'),
    });
    const next = events.next(() => true, 1000);
    qemu.send(event('LATE', { n: 1 }));
    expect((await next).data).toEqual({ n: 1 });
  });

  test('can be iterated until the monitor closes', async () => {
    using qemu = new FakeQemu();
    const events = qemu.client.events;
    qemu.send(event('A') + event('B'));
    qemu.hangUp();
    const names: string[] = [];
    for await (const { name } of events) names.push(name);
    expect(names).toEqual(['A', 'B']);
  });

  test('a flood that nobody reads is bounded: the latest are kept', async () => {
    using qemu = new FakeQemu();
    using events = qemu.client.subscribe();
    const done = qemu.client.executeAny('flood');
    const command = await qemu.command();
    const batch = 100;
    const batches = 60;
    for (let n = 0; n < batches; n++) {
      qemu.send(Array.from({ length: batch }, (_, i) => event('FLOOD', { n: n * batch + i })).join(''));
      // Let the client read, so that the socket does not fill up.
      await new Promise((resolve) => setImmediate(resolve));
    }
    qemu.answer(command);
    await done;
    const { data } = await events.next(() => true, 1000);
    const kept = 4096;
    expect(data.n).toBe(batch * batches - kept);
  });
});

describe('bytes', () => {
  test('messages may come a byte at a time, and several at once', async () => {
    using qemu = new FakeQemu();
    const version = qemu.client.negotiate();
    for (const byte of Buffer.from(greeting)) qemu.send(Buffer.from([byte]));
    const command = await qemu.command();
    const names = ['Ä', 'B', 'C'];
    using events = qemu.client.subscribe(names);
    const text = `${names.map((name) => event(name)).join('')}\r\n{"return": {}, "id": ${command.id}}\r\n`;
    const bytes = Buffer.from(text);
    const middleOfCharacter = bytes.indexOf(0xc3) + 1;
    qemu.send(bytes.subarray(0, middleOfCharacter));
    qemu.send(bytes.subarray(middleOfCharacter));
    await version;
    for (const name of names) expect((await events.next(() => true, 1000)).name).toBe(name);
  });

  test.each([
    ['no JSON', 'hello\r\n'],
    ['a number', '1\r\n'],
    ['an array', '[]\r\n'],
    ['null', 'null\r\n'],
    ['an unknown object', '{"x": 1}\r\n'],
    ['a return without id', '{"return": {}}\r\n'],
    ['an error without class', '{"error": {}, "id": 1}\r\n'],
    ['an event without name', '{"event": 1}\r\n'],
    ['bytes that are no text', Buffer.from([0xff, 0xfe, 0x00, 0x0a])],
  ])('%s closes the monitor, with an error that shows it', async (_what, garbage) => {
    using qemu = new FakeQemu();
    const pending = qemu.client.executeAny('query-status');
    await qemu.command();
    qemu.send(garbage);
    await expect(pending).rejects.toMatchObject({ code: 'QMP_CLOSED', message: expect.stringContaining('not QMP') });
  });

  test('a message that is too long closes the monitor before it is held', async () => {
    using qemu = new FakeQemu({ maxMessageBytes: 1000 });
    const pending = qemu.client.executeAny('query-status');
    await qemu.command();
    qemu.send('x'.repeat(1001));
    await expect(pending).rejects.toMatchObject({ code: 'QMP_CLOSED', message: expect.stringContaining('1000 bytes') });
  });
});

describe('the end', () => {
  test('rejects everything that waits, sent or not, and everything after', async () => {
    using qemu = new FakeQemu();
    const sent = qemu.client.executeAny('sent');
    const queued = qemu.client.executeAny('queued');
    const awaited = qemu.client.waitForEvent('NEVER');
    await qemu.command();
    qemu.hangUp();
    await expect(sent).rejects.toMatchObject({ code: 'QMP_CLOSED', message: expect.stringContaining('sent') });
    await expect(queued).rejects.toMatchObject({ code: 'QMP_CLOSED', message: expect.stringContaining('queued') });
    await expect(awaited).rejects.toMatchObject({ code: 'QMP_CLOSED' });
    await expect(qemu.client.executeAny('after')).rejects.toMatchObject({ code: 'QMP_CLOSED' });
    await expect(qemu.client.waitForEvent('AFTER')).rejects.toMatchObject({ code: 'QMP_CLOSED' });
    expect(qemu.client.closedReason?.message).toContain('QEMU has ended');
  });

  test('our own close ends it the same way, and twice is once', async () => {
    using qemu = new FakeQemu();
    const pending = qemu.client.executeAny('sent');
    qemu.client.close();
    qemu.client.close();
    await expect(pending).rejects.toMatchObject({ code: 'QMP_CLOSED', message: expect.stringContaining('by us') });
  });
});
