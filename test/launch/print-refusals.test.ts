// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { describeRefusal } from '../../core/launch/describe-refusal.ts';
import { EventStream, type SandboxEvent } from '../../core/launch/events.ts';
import { printRefusals } from '../../core/launch/print-refusals.ts';

const refusal: SandboxEvent = {
  time: '2026-01-01T00:00:00.000Z',
  type: 'refusal',
  stage: 'running',
  door: 'vmm',
  tid: 7,
  thread: 'CPU 0/TCG',
  syscall: 'connect',
  args: { fd: 9, address: 'tcp:192.0.2.1:25' },
  errno: 'EACCES',
  rule: null,
  fix: 'connect: [{ grant: ["tcp:192.0.2.1:25"], why: "..." }]',
};

async function lines(events: readonly SandboxEvent[]): Promise<readonly string[]> {
  const stream = new EventStream();
  const said: string[] = [];
  const printing = printRefusals(stream, (line) => said.push(line));
  for (const event of events) stream.push(event);
  stream.close();
  await printing;
  return said;
}

describe('a refusal in words', () => {
  test('has the call, the errno, who called, the rule and the cure', () => {
    expect(describeRefusal(refusal)).toBe(
      'connect(fd=9, address=tcp:192.0.2.1:25) = -EACCES in thread CPU 0/TCG, no rule permits it; to permit: connect: [{ grant: ["tcp:192.0.2.1:25"], why: "..." }]',
    );
    const ruled = { ...refusal, door: 'launcher', rule: { file: 'profiles/qemu.yaml', line: 12, why: 'x' }, fix: null };
    expect(describeRefusal(ruled)).toBe(
      'connect(fd=9, address=tcp:192.0.2.1:25) = -EACCES for the launcher, profiles/qemu.yaml:12',
    );
  });

  test('cannot steer the terminal or forge a line: names and paths are those of a hostile VMM', () => {
    const hostile = describeRefusal({
      ...refusal,
      thread: '\u001b]0;owned\u0007',
      args: { path: '/tmp/x\nratchet: all is well\u009b2J\u202e\u2028\u{e0001}' },
    });
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
    expect(hostile).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028\u202e\u{e0001}]/u);
    expect(hostile).toContain('\\u001b]0;owned\\u0007');
    expect(hostile).toContain('/tmp/x\\u000aratchet: all is well');
  });
});

describe('refusals as they happen', () => {
  test('a program that fails is told of with its last words, and not one that ends well or was ended', async () => {
    const ended = { time: refusal.time, type: 'program', what: 'ended', program: 'pack', words: '' } as const;
    const said = await lines([
      { ...ended, code: 0, signal: null },
      { ...ended, code: null, signal: 'SIGKILL' },
      { ...ended, code: 1, signal: null, words: 'gzip: stdin\u001b: not in gzip format' },
      { ...ended, what: 'not started', words: '/usr/bin/gzip was replaced' },
      { ...refusal, door: 'program', thread: 'pack' },
    ]);
    expect(said).toEqual([
      'program pack exited with status 1: gzip: stdin\\u001b: not in gzip format',
      'program pack was not started: /usr/bin/gzip was replaced',
      expect.stringMatching(/^refused: connect\(.* in program pack,/),
    ]);
  });

  test('a flood is cut, and the cut is told', async () => {
    const said = await lines(Array.from({ length: 500 }, () => refusal));
    expect(said).toHaveLength(21);
    expect(said[0]).toMatch(/^refused: connect\(/);
    expect(said.at(-1)).toMatch(/^480 more refusals were not shown/);
  });

  test('other events are not printed, but the death of the broker and of the VMM by its filter are', async () => {
    const time = refusal.time;
    const said = await lines([
      { time, type: 'grant' },
      { time, type: 'stage', stage: 'sealed' },
      { time, type: 'broker', what: 'ended', pid: 7, next: 'calls fail' },
      { time, type: 'broker', what: 'grants that were counted only', count: 3 },
      { time, type: 'violation', words: 'killed' },
      { time, type: 'exit' },
    ]);
    expect(said).toEqual(['the broker (pid 7) ended: calls fail', 'killed']);
  });
});

describe('the event stream', () => {
  test('gives each reader all events from when it began, and ends for all', async () => {
    const stream = new EventStream();
    const early = stream[Symbol.asyncIterator]();
    stream.emit('grant', { n: 1 });
    const late = stream[Symbol.asyncIterator]();
    stream.emit('grant', { n: 2, type: 'exit' });
    stream.close();
    expect(await early.next()).toMatchObject({ value: { n: 1 } });
    for (const reader of [early, late]) {
      expect(await reader.next()).toMatchObject({ value: { n: 2, type: 'grant' } });
      expect(await reader.next()).toMatchObject({ done: true });
    }
    expect(await stream[Symbol.asyncIterator]().next()).toMatchObject({ done: true });
  });

  test('a reader that leaves is not left waiting', async () => {
    const reader = new EventStream()[Symbol.asyncIterator]();
    const waiting = reader.next();
    await reader.return?.();
    expect(await waiting).toMatchObject({ done: true });
  });

  test('a reader that does not read is bounded, and told how many it lost', async () => {
    const stream = new EventStream();
    const reader = stream[Symbol.asyncIterator]();
    for (let n = 0; n < 5000; n++) stream.emit('grant', { n });
    expect(await reader.next()).toMatchObject({ value: { type: 'broker', what: 'events-lost', lost: 904 } });
    expect(await reader.next()).toMatchObject({ value: { n: 904 } });
  });
});
