// SPDX-License-Identifier: Apache-2.0
// C's integer expressions of named constants and numbers, in C's precedence, lowest first: | ^ & (<< >>) (+ -) (~ -)

import { constantNames, constantValue } from '../../tables/index.ts';
import { suggestion } from '../suggest.ts';
import type { Arch } from '../types.ts';
import { keywords, type TokenCursor } from './cursor.ts';
import { ExpressionError } from './error.ts';
import type { Token } from './tokens.ts';

/** Reads a value, of any size and sign. Throws ExpressionError. */
export function readValue(cursor: TokenCursor, arch: Arch): bigint {
  return readBinary(cursor, arch, 0);
}

function readBinary(cursor: TokenCursor, arch: Arch, level: number): bigint {
  const operators = precedence[level];
  if (operators === undefined) return readUnary(cursor, arch);
  let left = readBinary(cursor, arch, level + 1);
  for (;;) {
    const token = cursor.peek();
    const apply = operators.get(token.text);
    if (apply === undefined || token.kind !== 'symbol') return left;
    cursor.next();
    const right = readBinary(cursor, arch, level + 1);
    if ((token.text === '<<' || token.text === '>>') && (right < 0n || right > 63n)) {
      throw new ExpressionError(token.offset, 'out-of-range', 'a shift must be by 0 to 63 bits');
    }
    left = apply(left, right);
  }
}

function readUnary(cursor: TokenCursor, arch: Arch): bigint {
  const token = cursor.next();
  if (token.text === '~') return ~readUnary(cursor, arch);
  if (token.text === '-') return -readUnary(cursor, arch);
  if (token.text === '(') {
    const value = readValue(cursor, arch);
    cursor.expect(')');
    return value;
  }
  if (token.kind === 'number') return BigInt(token.text);
  if (token.kind === 'name' && !keywords.has(token.text)) return constantOf(token, arch);
  throw cursor.unexpected(token, 'a constant or a number');
}

function constantOf(token: Token, arch: Arch): bigint {
  const value = constantValue(arch, token.text);
  if (value !== undefined) return value;
  throw new ExpressionError(
    token.offset,
    'unknown-constant',
    `unknown constant "${token.text}" on ${arch}${suggestion(token.text, constantNames(arch))}`,
  );
}

const precedence: readonly ReadonlyMap<string, (a: bigint, b: bigint) => bigint>[] = [
  new Map([['|', (a, b) => a | b]]),
  new Map([['^', (a, b) => a ^ b]]),
  new Map([['&', (a, b) => a & b]]),
  new Map([
    ['<<', (a, b) => a << b],
    ['>>', (a, b) => a >> b],
  ]),
  new Map([
    ['+', (a, b) => a + b],
    ['-', (a, b) => a - b],
  ]),
];
