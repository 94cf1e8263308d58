// SPDX-License-Identifier: Apache-2.0
import { ExpressionError } from './error.ts';
import { type Token, tokensOf } from './tokens.ts';

/** Words with a meaning of their own, which no argument or constant has for a name. */
export const keywords: ReadonlySet<string> = new Set([
  'and',
  'or',
  'not',
  'in',
  'signed',
  'only',
  'has',
  'lacks',
  'u32',
  'u32z',
  's32',
  'u64',
]);

/** A place in the tokens of a condition. */
export class TokenCursor {
  readonly #tokens: readonly Token[];
  #position = 0;

  constructor(text: string) {
    this.#tokens = tokensOf(text);
  }

  /** The token `ahead` of the next one. */
  peek(ahead = 0): Token {
    return this.#tokens[this.#position + ahead] ?? { kind: 'end', text: 'the end', offset: 0 };
  }

  next(): Token {
    const token = this.peek();
    if (token.kind !== 'end') this.#position++;
    return token;
  }

  take(text: string): boolean {
    const token = this.peek();
    if (token.kind === 'end' || token.text !== text) return false;
    this.#position++;
    return true;
  }

  expect(text: string): void {
    if (!this.take(text)) throw this.unexpected(this.peek(), `"${text}"`);
  }

  unexpected(token: Token, wanted: string): ExpressionError {
    const found = token.kind === 'end' ? 'the end' : `"${token.text}"`;
    return new ExpressionError(token.offset, 'expression', `expected ${wanted}, found ${found}`);
  }
}
