// SPDX-License-Identifier: Apache-2.0
import { isIPv4, isIPv6 } from 'node:net';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatIp, parseIp } from '../../core/policy/address/ip.ts';

test('an IP text is accepted exactly when the system resolver library would take it as a literal', () => {
  const piece = fc.constantFrom(
    '0',
    '1',
    '255',
    '256',
    '0177',
    '::',
    ':',
    'ffff',
    'FFFF0',
    '.',
    '1.2.3.4',
    '%1',
    '',
    '0x7f',
    'g',
    ' ',
  );
  const text = fc.oneof(
    fc.ipV4(),
    fc.ipV6(),
    fc.array(piece, { maxLength: 9 }).map((parts) => parts.join('')),
  );
  fc.assert(
    fc.property(text, (candidate) => {
      const bytes = parseIp(candidate);
      expect(bytes?.length === 4, candidate).toBe(isIPv4(candidate));
      expect(bytes?.length === 16, candidate).toBe(isIPv6(candidate) && !candidate.includes('%'));
      if (bytes !== undefined) expect(parseIp(formatIp(bytes))).toEqual(bytes);
    }),
    { numRuns: 5000 },
  );
});

test.each([
  '0177.0.0.1',
  '127.1',
  '0x7f.0.0.1',
  '2130706433',
  '1.2.3.4.',
  '::1%1',
  '::ffff:0177.0.0.1',
  '1:2:3:4:5:6:7',
  '',
])('the ambiguous text %j is no IP address', (text) => expect(parseIp(text)).toBeUndefined());
