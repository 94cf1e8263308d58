// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { placeOfId } from '../../brokers/frame.ts';
import { encodeFrame } from '../../core/broker/frame.ts';
import {
  decodeProfile,
  decodeRequest,
  decodeServerMessage,
  encodeProfile,
  encodeRequest,
  encodeServerMessage,
  protocolLimits,
  type Request,
} from '../../core/broker/protocol.ts';
import type { RatchetError } from '../../core/errors.ts';
import { connectFrameWithExtension } from './extension.ts';
import { profileOf } from './policy.ts';

const protocolError = expect.objectContaining({ code: 'BROKER_PROTOCOL' });

test.each<Request>([
  { type: 'connect', id: 1n, address: 'tcp:127.0.0.1:1', timeoutMs: 1000 },
  { type: 'bind', id: 2n ** 64n - 1n, address: 'unix:/x', backlog: 0 },
  { type: 'open', id: 3n, path: '/x', access: 'rw', create: true },
  { type: 'open', id: 3n, path: '/x', access: 'ro' },
  { type: 'tap', id: 4n, name: 'tap0' },
  { type: 'exec', id: 4n, program: 'pack', input: '/x' },
  { type: 'started', id: 4n, number: 1, pid: 7 },
  { type: 'ended', id: 4n, number: 1, what: 'exited with status 0' },
  { type: 'stage', id: 5n, epoch: 1 },
  { type: 'attachListener', id: 6n },
  { type: 'status', id: 7n },
  { type: 'shutdown', id: 2n ** 32n },
])('a $type request survives the way', (request) => {
  expect(decodeRequest(encodeRequest(request))).toEqual(request);
});

test('an id may come in any msgpack integer form', () => {
  for (const id of [1, 200, 70_000, 5n, 2n ** 63n])
    expect(decodeRequest(encodeFrame({ type: 'status', id }))).toEqual({ type: 'status', id: BigInt(id) });
});

test.each([
  ['an unknown type', { type: 'exec', id: 1n }],
  ['a key too many', { type: 'status', id: 1n, extra: 1 }],
  ['a key too few', { type: 'connect', id: 1n, address: 'x' }],
  ['id 0', { type: 'status', id: 0n }],
  ['a negative id', { type: 'status', id: -1n }],
  ['a fraction as id', { type: 'status', id: 1.5 }],
  ['a text as id', { type: 'status', id: '1' }],
  ['a timeout of 0', { type: 'connect', id: 1n, address: 'x', timeoutMs: 0 }],
  ['a timeout beyond the limit', { type: 'connect', id: 1n, address: 'x', timeoutMs: 60_001 }],
  ['no map', [1, 2, 3]],
  ['nothing', null],
  ['an interface name that is too long', { type: 'tap', id: 1n, name: 'x'.repeat(16) }],
  ['a negative epoch', { type: 'stage', id: 1n, epoch: -1 }],
])('%s is a protocol error', (_what, message) => {
  expect(() => decodeRequest(encodeFrame(message))).toThrow(protocolError);
});

test('a request to connect without options is read as one with options is', () => {
  const odd = fc.oneof(
    fc.constantFrom<unknown>(
      'connect',
      'open',
      0,
      1,
      -1,
      0.5,
      60_000,
      60_001,
      null,
      true,
      '',
      'x'.repeat(1024),
      'x'.repeat(1025),
      {},
    ),
    fc.bigInt({ min: -(1n << 63n), max: (1n << 64n) - 1n }),
  );
  const right: fc.Arbitrary<Record<string, unknown>> = fc.record({
    type: fc.constant('connect'),
    id: fc.bigInt({ min: 1n, max: (1n << 64n) - 1n }),
    address: fc.string(),
    timeoutMs: fc.integer({ min: 1, max: 60_000 }),
  });
  const read = (frame: Record<string, unknown>): unknown => {
    try {
      return decodeRequest(encodeFrame(frame));
    } catch (error) {
      return (error as RatchetError).code;
    }
  };
  fc.assert(
    fc.property(
      right,
      fc.constantFrom('type', 'id', 'address', 'timeoutMs', 'other', 'none'),
      odd,
      (good, key, value) => {
        const frame = key === 'none' ? good : { ...good, [key]: value };
        const found = read(frame);
        const bySchema = read({ ...frame, keepAlive: false });
        expect(found).toEqual(
          typeof bySchema === 'object' && bySchema !== null && (found as Request).type === 'connect'
            ? Object.fromEntries(Object.entries(bySchema).filter(([name]) => name !== 'keepAlive'))
            : bySchema,
        );
      },
    ),
  );
});

test('an id that is written as an extension is within its bounds, or a protocol error', () => {
  const read = (id: bigint, bytes: number): unknown => {
    try {
      return decodeRequest(connectFrameWithExtension(id, bytes, '/x')).id;
    } catch (error) {
      return (error as RatchetError).code;
    }
  };
  expect(read(3n, 8)).toBe(3n);
  expect(read(2n ** 64n - 1n, 9)).toBe(2n ** 64n - 1n);
  for (const id of [2n ** 64n, 2n ** 64n + 1n, 0n, -1n, -(2n ** 64n)]) expect(read(id, 9)).toBe('BROKER_PROTOCOL');
  expect(read(2n ** 799n, 200)).toBe('BROKER_PROTOCOL');
  expect(read(-(2n ** 799n), 200)).toBe('BROKER_PROTOCOL');
});

test('the place of a number that is written over and over is not looked for without end', () => {
  const id = 0x6161_6161_6161_6161n;
  const frame = (letters: number): Uint8Array =>
    encodeRequest({ type: 'connect', id, address: `unix:/${'a'.repeat(letters)}`, timeoutMs: 1000 });
  const placeOf = (bytes: Uint8Array): number | undefined => placeOfId(bytes, decodeRequest(bytes));
  expect(placeOf(frame(0))).toBe(Buffer.from(frame(0)).indexOf('aaaaaaaa'));
  const before = Buffer.from(
    encodeFrame({ address: `unix:/${'a'.repeat(1000)}`, type: 'connect', id, timeoutMs: 1000 }),
  );
  expect(placeOf(before)).toBeUndefined();
  const few = Buffer.from(encodeFrame({ address: `unix:/${'a'.repeat(10)}`, type: 'connect', id, timeoutMs: 1000 }));
  expect(placeOf(few)).toBe(few.lastIndexOf('aaaaaaaa'));
});

test('frames are capped before they are decoded', () => {
  const large = encodeFrame({ type: 'open', id: 1n, path: 'x'.repeat(protocolLimits.maxRequestBytes), access: 'ro' });
  expect(() => decodeRequest(large)).toThrow(/frame of \d+ bytes/);
  expect(() => decodeRequest(new Uint8Array(0))).toThrow(protocolError);
});

test('random and mutated frames are read or are protocol errors, in both directions', () => {
  const valid = encodeRequest({ type: 'connect', id: 77n, address: 'tcp:127.0.0.1:4444', timeoutMs: 1000 });
  const mutated = fc
    .array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 })
    .map((changes) => changes.reduce((bytes, [at, value]) => bytes.with(at, value), Uint8Array.from(valid)));
  const cut = fc.nat(valid.length - 1).map((length) => valid.slice(0, length));
  const longer = fc.uint8Array({ minLength: 1, maxLength: 8 }).map((tail) => Uint8Array.from([...valid, ...tail]));
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 300 }), mutated, cut, longer), (bytes) => {
      for (const decode of [decodeRequest, decodeServerMessage])
        try {
          decode(bytes);
        } catch (error) {
          expect(error).toEqual(protocolError);
        }
    }),
    { numRuns: 20_000 },
  );
});

test('a server message has a closed shape too', () => {
  const event = { time: 'now', type: 'broker', what: 'x' } as const;
  expect(decodeServerMessage(encodeServerMessage({ type: 'event', event }))).toEqual({ type: 'event', event });
  expect(() => decodeServerMessage(encodeFrame({ type: 'event', event: { ...event, extra: 1 } }))).toThrow(
    protocolError,
  );
  expect(() => decodeServerMessage(encodeFrame({ type: 'result', id: 1n, class: 'maybe', what: 'x' }))).toThrow(
    protocolError,
  );
});

test('a resolved profile survives the way with its 64-bit words, and a malformed one is refused', () => {
  const profile = profileOf({
    start: { rules: ['connect tcp:127.0.0.1:1', '2 connect unix:/x'], actions: { openat: { kind: 'broker' } } },
  });
  const rule = profile.stages[0]?.filter.syscalls[0]?.rules[0];
  if (rule === undefined) throw new Error('no rule');
  const words = { kind: 'in', arg: 1, width: 'full64', values: [0n, 5n, 2n ** 63n, 2n ** 64n - 1n] } as const;
  Object.assign(rule, { when: { kind: 'and', terms: [words, { kind: 'not', term: { kind: 'never' } }] } });
  expect(decodeProfile(encodeProfile(profile))).toEqual(profile);
  expect(() => decodeProfile(encodeFrame({ ...profile, extra: 1 }))).toThrow(
    expect.objectContaining({ code: 'PROFILE_INVALID' }),
  );
  expect(() => decodeProfile(encodeFrame({ ...profile, stages: [] }))).toThrow(
    expect.objectContaining({ code: 'PROFILE_INVALID' }),
  );
});
