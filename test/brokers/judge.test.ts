// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { judge, parseRules, type Wish } from '../../brokers/judge.ts';
import { TokenBucket } from '../../brokers/token-bucket.ts';
import { parseAddress } from '../../core/policy/address/index.ts';
import { brokerRules } from './policy.ts';

const connect = (text: string): Wish => ({ request: 'connect', address: parseAddress(text) });
const verdict = (lines: readonly string[], wish: Wish) => {
  const judgement = judge(parseRules(brokerRules(lines)), wish);
  return judgement.granted ? `granted by ${judgement.rule.source.line}` : `errno ${judgement.errno}`;
};

test('without a rule the answer is no', () => {
  expect(verdict([], connect('tcp:127.0.0.1:1'))).toBe('errno 13');
  expect(verdict(['bind tcp:127.0.0.1:1'], connect('tcp:127.0.0.1:1'))).toBe('errno 13');
});

test('a refusing rule wins, wherever it stands', () => {
  expect(verdict(['connect unix:/run/**', '2 connect unix:/run/nscd/socket'], connect('unix:/run/nscd/socket'))).toBe(
    'errno 2',
  );
  expect(verdict(['2 connect unix:/run/nscd/socket', 'connect unix:/run/**'], connect('unix:/run/nscd/socket'))).toBe(
    'errno 2',
  );
  expect(verdict(['2 connect unix:/run/nscd/socket', 'connect unix:/run/**'], connect('unix:/run/x'))).toBe(
    'granted by 2',
  );
});

test('the wildcard is judged as loopback for connect and as itself for bind', () => {
  expect(verdict(['connect tcp:127.0.0.1:1'], connect('tcp:0.0.0.0:1'))).toBe('granted by 1');
  const wildcard: Wish = { request: 'bind', address: parseAddress('tcp:0.0.0.0:1') };
  expect(verdict(['bind tcp:127.0.0.1:1'], wildcard)).toBe('errno 13');
  expect(verdict(['bind tcp:0.0.0.0:1'], wildcard)).toBe('granted by 1');
});

test('access modes count', () => {
  const open = (access: 'ro' | 'rw' | 'wo'): Wish => ({ request: 'open', path: '/images/a', access });
  expect(verdict(['open /images/*:ro'], open('ro'))).toBe('granted by 1');
  expect(verdict(['open /images/*:ro'], open('wo'))).toBe('errno 13');
  expect(verdict(['open /images/*', '30 open /images/a:ro'], open('rw'))).toBe('errno 30');
});

test('interface names match exactly or by a trailing star', () => {
  const tap = (name: string): Wish => ({ request: 'tap', name });
  expect(verdict(['tap rt0'], tap('rt0'))).toBe('granted by 1');
  expect(verdict(['tap rt0'], tap('rt01'))).toBe('errno 13');
  expect(verdict(['tap rt*'], tap('rt%d'))).toBe('granted by 1');
  expect(verdict(['tap rt*'], tap('eth0'))).toBe('errno 13');
});

test('a token bucket lets a burst through, then a rate, and counts the rest', () => {
  let now = 0;
  const bucket = new TokenBucket({ burst: 2, perSecond: 10, nowMs: () => now });
  expect([bucket.take(), bucket.take(), bucket.take()]).toEqual([true, true, false]);
  now = 100;
  expect([bucket.take(), bucket.take()]).toEqual([true, false]);
  now = 1_000_000;
  expect([bucket.take(), bucket.take(), bucket.take()]).toEqual([true, true, false]);
  expect(bucket.drain()).toBe(3);
  expect(bucket.drain()).toBe(0);
});
