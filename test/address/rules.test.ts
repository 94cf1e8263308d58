// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  connectTarget,
  formatAddress,
  matchAddress,
  parseAddress,
  parseAddressRule,
  ruleContains,
} from '../../core/policy/address/index.ts';

const matches = (rule: string, address: string) => matchAddress(parseAddressRule(rule), parseAddress(address));
const contains = (wider: string, narrower: string) => ruleContains(parseAddressRule(wider), parseAddressRule(narrower));

describe('what a rule names', () => {
  test.each([
    ['tcp:127.0.0.1:4444', 'tcp:127.0.0.1:4444', true],
    ['tcp:127.0.0.1:4444', 'tcp:127.0.0.1:4445', false],
    ['tcp:127.0.0.1:4444', 'tcp:127.0.0.2:4444', false],
    ['tcp:10.0.0.0/8:80-90', 'tcp:10.255.0.1:90', true],
    ['tcp:10.0.0.0/8:80-90', 'tcp:10.255.0.1:91', false],
    ['tcp:10.0.0.0/8:80-90', 'tcp:11.0.0.0:80', false],
    ['tcp:10.0.0.0/8:80', 'tcp:[::ffff:10.1.2.3]:80', true],
    ['tcp:[::ffff:10.0.0.0/104]:80', 'tcp:10.1.2.3:80', true],
    ['tcp:[::/0]:80', 'tcp:10.1.2.3:80', false],
    ['tcp:[::/0]:80', 'tcp:[2001:db8::1]:80', true],
    ['tcp:[::/0]:80', 'tcp:[64:ff9b::a00:1]:80', false],
    ['tcp:[64:ff9b::/96]:80', 'tcp:[64:ff9b::a00:1]:80', true],
    ['tcp:[::/0]:80', 'tcp:[::10.0.0.1]:80', false],
    ['tcp:[::/0]:80', 'tcp:[::1]:80', true],
    ['tcp:0.0.0.0/0:80', 'tcp:[2001:db8::1]:80', false],
    ['tcp:[fe80::1]:80', 'tcp:[fe80::1%2]:80', false],
    ['tcp:[fe80::1%2]:80', 'tcp:[fe80::1%2]:80', true],
    ['tcp:[fe80::1%2]:80', 'tcp:[fe80::1%3]:80', false],
    ['unix:/run/a.sock', 'unix:/run//./a.sock', true],
    ['unix:/run/*.sock', 'unix:/run/a.sock', true],
    ['unix:/run/*.sock', 'unix:/run/x/a.sock', false],
    ['unix:/run/**', 'unix:/run/x/a.sock', true],
    ['unix:/run/**', 'unix:/run', false],
    ['unix:/run/a', 'unix-abstract:/run/a', false],
    ['unix-abstract:mon', 'unix-abstract:mon', true],
    ['unix-abstract:mon', 'unix-abstract:mon\\x00', false],
    ['unix-abstract:m\\x6fn', 'unix-abstract:mon', true],
    ['vsock:2:1024', 'vsock:2:1024', true],
    ['vsock:4294967295:1024', 'vsock:2:1024', false],
    ['netlink:route', 'netlink:route', true],
    ['netlink:route', 'vsock:0:0', false],
  ])('%s on %s is %s', (rule, address, wanted) => expect(matches(rule, address)).toBe(wanted));
});

describe('what is no address', () => {
  test.each([
    'tcp:localhost:80',
    'tcp:127.0.0.1',
    'tcp:127.0.0.1:65536',
    'tcp:127.0.0.1:80-79',
    'tcp:127.0.0.1:080',
    'tcp:127.0.0.1:+80',
    'tcp:127.0.0.1:80-81-82',
    'tcp:10.0.0.0/33:80',
    'tcp:10.0.0.1/8:80',
    'tcp:::1:80',
    'tcp:[::1:80',
    'tcp:[127.0.0.1]:80',
    'tcp:[fe80::1%eth0]:80',
    'tcp:[fe80::1%0]:80',
    'tcp:[2001:db8::1%2]:80',
    'tcp:0177.0.0.1:80',
    'unix:relative',
    'unix:',
    'unix:/',
    'unix:/run/../etc/x',
    'unix:/run/a\0b',
    'unix:/run/**/x',
    'unix:/run/a**',
    `unix:/${'x'.repeat(108)}*`.replace('*', ''),
    'unix-abstract:',
    'unix-abstract:a\\q',
    `unix-abstract:${'x'.repeat(108)}`,
    'vsock:2',
    'vsock:2:4294967296',
    'vsock:-1:2',
    'netlink:audit',
    'udp:1.2.3.4:5',
    '',
    'tcp',
  ])('%j is refused with the right form', (text) => {
    expect(() => parseAddress(text)).toThrow(
      expect.objectContaining({ code: 'ADDRESS_INVALID', next: expect.stringMatching(/^write /) }),
    );
  });

  test('a set of addresses is not one address', () => {
    expect(() => parseAddress('tcp:10.0.0.0/8:80')).toThrow(/CIDR names many/);
    expect(() => parseAddress('tcp:10.0.0.1:80-81')).toThrow(/range names many/);
  });
});

test('a connect to the wildcard is a connect to loopback', () => {
  expect(formatAddress(connectTarget(parseAddress('tcp:0.0.0.0:80')))).toBe('tcp:127.0.0.1:80');
  expect(formatAddress(connectTarget(parseAddress('tcp:[::]:80')))).toBe('tcp:[::1]:80');
  expect(formatAddress(connectTarget(parseAddress('tcp:[::ffff:0.0.0.0]:80')))).toBe('tcp:127.0.0.1:80');
});

const byte = fc.constantFrom(0, 1, 10, 127, 255);
const tcpRule = fc
  .tuple(
    byte,
    byte,
    byte,
    byte,
    fc.integer({ min: 0, max: 32 }),
    fc.integer({ min: 0, max: 6 }),
    fc.integer({ min: 0, max: 3 }),
  )
  .map(([a, b, c, d, prefix, port, more]) => {
    const bits = ((a << 24) | (b << 16) | (c << 8) | d) >>> 0;
    const network = prefix === 0 ? 0 : (bits & (0xffffffff << (32 - prefix))) >>> 0;
    return `tcp:${[24, 16, 8, 0].map((shift) => (network >>> shift) & 255).join('.')}/${prefix}:${port}-${port + more}`;
  });
const v6Host = fc.constantFrom(
  '::',
  '::1',
  '::2',
  '64:ff9b::',
  '64:ff9b::1',
  'fe80::',
  '2001:db8::',
  '::ffff:0:0',
  '::ffff:10.0.0.1',
);
const v6Rule = fc
  .tuple(v6Host, fc.constantFrom(0, 8, 64, 95, 96, 104, 128))
  .map(([host, prefix]) => `tcp:[${host}/${prefix}]:80`);
const component = fc.constantFrom('a', 'ab', '*', 'a*', '*b', 'a*b', '*a*');
const unixRule = fc
  .tuple(fc.array(component, { minLength: 1, maxLength: 3 }), fc.boolean())
  .map(([parts, below]) => `unix:/${parts.join('/')}${below ? '/**' : ''}`);
const tcpAddress = fc
  .tuple(byte, byte, byte, byte, fc.integer({ min: 0, max: 9 }))
  .map(([a, b, c, d, p]) => `tcp:${a}.${b}.${c}.${d}:${p}`);
const v6Address = v6Host.map((host) => `tcp:[${host}]:80`);
const unixAddress = fc
  .array(fc.constantFrom('a', 'b', 'ab', 'aab', 'abb', 'ba', 'c'), { minLength: 1, maxLength: 4 })
  .map((parts) => `unix:/${parts.join('/')}`);
const textOf = (candidates: fc.Arbitrary<string>) =>
  candidates.filter((text) => {
    try {
      parseAddressRule(text);
      return true;
    } catch {
      return false;
    }
  });
const triple = fc.oneof(
  fc.tuple(textOf(tcpRule), textOf(tcpRule), tcpAddress),
  fc.tuple(textOf(v6Rule), textOf(v6Rule), v6Address),
  fc.tuple(unixRule, unixRule, unixAddress),
  fc.tuple(unixRule, textOf(v6Rule), tcpAddress),
);

test('a containing rule matches whatever the contained rule matches', () => {
  let seen = 0;
  fc.assert(
    fc.property(triple, ([wider, narrower, address]) => {
      expect(contains(wider, wider)).toBe(true);
      if (!contains(wider, narrower) || !matches(narrower, address)) return;
      seen += 1;
      expect(matches(wider, address), `${wider} contains ${narrower}, on ${address}`).toBe(true);
    }),
    { numRuns: 20_000, seed: 1 },
  );
  expect(seen).toBeGreaterThan(100);
});

test('the text of an address reads back to the same address', () => {
  for (const text of [
    'tcp:1.2.3.4:0',
    'tcp:[2001:db8::1]:65535',
    'tcp:[fe80::1%7]:1',
    'unix:/a/b',
    'unix-abstract:a\\x00\\x20b',
    'vsock:3:9',
    'netlink:route',
  ])
    expect(formatAddress(parseAddress(text))).toBe(text);
});
