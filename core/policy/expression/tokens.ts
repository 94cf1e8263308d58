// SPDX-License-Identifier: Apache-2.0
import { ExpressionError } from './error.ts';

export interface Token {
  readonly kind: 'name' | 'number' | 'symbol' | 'end';
  readonly text: string;
  readonly offset: number;
}

const pattern =
  /(?<space>\s+)|(?<name>[A-Za-z_]\w*)|(?<number>0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|\d+(?!\w))|(?<symbol>==|!=|<=|>=|<<|>>|\.\.|[<>()[\],|&~+^-])/y;

/** Cuts a condition into tokens, the last one `end`. */
export function tokensOf(text: string): readonly Token[] {
  const tokens: Token[] = [];
  let offset = 0;
  while (offset < text.length) {
    pattern.lastIndex = offset;
    const groups = pattern.exec(text)?.groups;
    if (groups === undefined || /^(&&|\|\|)/.test(text.slice(offset, offset + 2))) throw unreadable(text, offset);
    const word = groups.space ?? groups.name ?? groups.number ?? groups.symbol ?? '';
    if (groups.number !== undefined && /^0\d/.test(word)) {
      throw new ExpressionError(
        offset,
        'expression',
        `"${word}" could be meant as octal: write 0o${word.slice(1)} or leave out the zero`,
      );
    }
    const kind = groups.name !== undefined ? 'name' : groups.number !== undefined ? 'number' : 'symbol';
    if (groups.space === undefined) tokens.push({ kind, text: word, offset });
    offset += word.length;
  }
  tokens.push({ kind: 'end', text: 'the end', offset: text.length });
  return tokens;
}

function unreadable(text: string, offset: number): ExpressionError {
  const rest = text.slice(offset);
  const hints: readonly (readonly [RegExp, string])[] = [
    [/^&&/, ': write "and"'],
    [/^\|\|/, ': write "or"'],
    [/^!/, ': write "not" or "!="'],
    [/^=/, ': write "=="'],
  ];
  const hint = hints.find(([start]) => start.test(rest))?.[1] ?? '';
  return new ExpressionError(offset, 'expression', `"${rest.split(/\s/)[0] ?? rest}" is not understood here${hint}`);
}
