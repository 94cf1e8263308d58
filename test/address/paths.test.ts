// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { matchPath, parsePathRule, pathRuleContains } from '../../core/policy/address/index.ts';

test.each([
  ['/images/a.img', '/images/a.img', 'rw', true],
  ['/images/a.img:ro', '/images/a.img', 'ro', true],
  ['/images/a.img:ro', '/images/a.img', 'rw', false],
  ['/images/a.img:ro', '/images/a.img', 'wo', false],
  ['/images/*.img', '/images/.img', 'rw', true],
  ['/images/*', '/images/a/b', 'rw', false],
  ['/images/*/disk', '/images/vm1/disk', 'rw', true],
  ['/images/**', '/images/a/b', 'rw', true],
  ['/images/**', '/images', 'rw', false],
  ['/images/**', '/imagesx/a', 'rw', false],
  ['/a*b*c', '/aXbYbZc', 'rw', true],
  ['/a*b*c', '/aXbYbZ', 'rw', false],
] as const)('%s grants %s for %s: %s', (rule, path, access, wanted) => {
  expect(matchPath(parsePathRule(rule), path, access)).toBe(wanted);
});

test.each([
  ['/a/**', '/a/b/*', true],
  ['/a/*', '/a/**', false],
  ['/a/b/**', '/a/**', false],
  ['/a/*:ro', '/a/b', false],
  ['/a/*', '/a/b:ro', true],
  ['/a/x*', '/a/xy*', true],
  ['/a/xy*', '/a/x*', false],
  ['/a/*x', '/a/*', false],
] as const)('%s contains %s: %s', (wider, narrower, wanted) => {
  expect(pathRuleContains(parsePathRule(wider), parsePathRule(narrower))).toBe(wanted);
});

test.each(['images/a', '', '/', '/a/../b', '/a\0', '/a/**/b', '/a**', ':ro'])('the rule %j is refused', (text) => {
  expect(() => parsePathRule(text)).toThrow(expect.objectContaining({ code: 'ADDRESS_INVALID' }));
});
