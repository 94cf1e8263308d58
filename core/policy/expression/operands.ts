// SPDX-License-Identifier: Apache-2.0
// What a test looks at: an argument by name, in some width, under a mask, or with a sign.

import { parametersOf } from '../../tables/index.ts';
import { suggestion } from '../suggest.ts';
import type { Arch, Width } from '../types.ts';
import { keywords, type TokenCursor } from './cursor.ts';
import { ExpressionError } from './error.ts';
import type { Token } from './tokens.ts';
import { readValue } from './values.ts';
import { allOnes, bitsOf, type Operand } from './words.ts';

export interface ConditionContext {
  readonly arch: Arch;
  readonly syscall: string;
}

const widths: ReadonlyMap<string, Width> = new Map([
  ['u32', 'low32'],
  ['u32z', 'zero32'],
  ['s32', 'sign32'],
  ['u64', 'full64'],
]);

/** Whether `( argument &` comes next, which starts an operand; any other `(` starts a condition. */
export function isMaskedArgument(cursor: TokenCursor): boolean {
  const first = cursor.peek(1);
  if (first.kind !== 'name') return false;
  return cursor.peek(widths.has(first.text) && cursor.peek(2).text === '(' ? 5 : 2).text === '&';
}

/** Throws ExpressionError. */
export function readOperand(cursor: TokenCursor, context: ConditionContext): Operand {
  if (cursor.take('signed')) {
    cursor.expect('(');
    const operand = readArgument(cursor, context);
    cursor.expect(')');
    return { ...operand, signed: true };
  }
  if (!cursor.take('(')) return readArgument(cursor, context);
  const operand = readArgument(cursor, context);
  cursor.expect('&');
  const at = cursor.peek().offset;
  const mask = bitsIn(operand, readValue(cursor, context.arch), at);
  cursor.expect(')');
  if (mask === 0n) throw new ExpressionError(at, 'never-true', 'a mask of 0 leaves nothing to compare');
  return { ...operand, mask };
}

/** A value as the unsigned bit pattern of the operand's width; a negative one as two's complement. Throws ExpressionError. */
export function bitsIn(operand: Operand, value: bigint, at: number): bigint {
  const bits = bitsOf(operand.width, value);
  if (bits !== undefined) return bits;
  const size = operand.width === 'full64' ? 64 : 32;
  throw new ExpressionError(at, 'out-of-range', `${value} does not fit the ${size} bits of this argument`);
}

function readArgument(cursor: TokenCursor, context: ConditionContext): Operand {
  const token = cursor.next();
  const width = widths.get(token.text);
  if (width === undefined || cursor.peek().text !== '(') return named(cursor, token, undefined, context);
  cursor.expect('(');
  const operand = named(cursor, cursor.next(), width, context);
  cursor.expect(')');
  return operand;
}

function named(
  cursor: TokenCursor,
  token: Token,
  width: Width | undefined,
  { arch, syscall }: ConditionContext,
): Operand {
  if (token.kind !== 'name' || keywords.has(token.text)) throw cursor.unexpected(token, `an argument of ${syscall}`);
  const parameters = parametersOf(arch, syscall);
  const parameter = parameters.find(({ names }) => names.includes(token.text)) ?? positional(token.text, parameters);
  if (parameter === undefined) {
    const names = parameters.flatMap((known) => known.names);
    const list = names.length === 0 ? 'it takes none' : `it has ${names.join(', ')}`;
    throw new ExpressionError(
      token.offset,
      'unknown-argument',
      `${syscall} has no argument "${token.text}"${suggestion(token.text, names) || `: ${list}`}`,
    );
  }
  const effective = width ?? parameter.width;
  return { arg: parameter.index, width: effective, mask: allOnes(effective), signed: false };
}

/** arg0 to arg5, except where the call itself names its arguments so (prctl's and keyctl's count from 1). */
function positional(name: string, parameters: ReturnType<typeof parametersOf>) {
  const index = /^arg([0-5])$/.exec(name)?.[1];
  const ambiguous = parameters.some(({ names }) => names.some((known) => /^arg\d$/.test(known)));
  if (index === undefined || ambiguous) return undefined;
  return parameters[Number(index)];
}
