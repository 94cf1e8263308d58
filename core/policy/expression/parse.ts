// SPDX-License-Identifier: Apache-2.0
// The text of `when`, read for one system call on one architecture.
//
//   condition  = conjunction { "or" conjunction }
//   conjunction = negation { "and" negation }
//   negation   = "not" negation | "(" condition ")" | test
//   test       = operand ( "==" | "!=" | "<" | "<=" | ">" | ">=" ) value
//              | operand [ "not" ] "in" ( "[" item { "," item } "]" | value ".." value )     item = value [ ".." value ]
//              | operand ( "only" | "has" | "lacks" ) value
//   operand    = argument | "(" argument "&" value ")" | "signed" "(" argument ")"
//   argument   = NAME | ( "u32" | "u32z" | "s32" | "u64" ) "(" NAME ")"
//   value      = C's integer expressions of named constants and numbers: | ^ & << >> + - ~ ( )

import type { CompareOp, Condition } from '../types.ts';
import { TokenCursor } from './cursor.ts';
import { ExpressionError } from './error.ts';
import { bitsIn, type ConditionContext, isMaskedArgument, readOperand } from './operands.ts';
import type { Token } from './tokens.ts';
import { readValue } from './values.ts';
import { allOnes, type Operand } from './words.ts';

/** Reads a condition. Throws ExpressionError. */
export function parseCondition(text: string, context: ConditionContext): Condition {
  return new ConditionParser(text, context).parse();
}

const compareOps: ReadonlySet<string> = new Set<CompareOp>(['==', '!=', '<', '<=', '>', '>=']);
const bitTests: ReadonlySet<string> = new Set(['only', 'has', 'lacks']);
class ConditionParser {
  readonly #cursor: TokenCursor;
  readonly #context: ConditionContext;

  constructor(text: string, context: ConditionContext) {
    this.#cursor = new TokenCursor(text);
    this.#context = context;
  }

  parse(): Condition {
    const condition = this.#condition();
    const token = this.#cursor.peek();
    if (token.kind !== 'end') throw this.#cursor.unexpected(token, '"and", "or" or the end');
    return condition;
  }

  #condition(): Condition {
    return joined(
      'or',
      this.#list('or', () => this.#conjunction()),
    );
  }

  #conjunction(): Condition {
    return joined(
      'and',
      this.#list('and', () => this.#negation()),
    );
  }

  #list(separator: string, read: () => Condition): Condition[] {
    const terms = [read()];
    while (this.#cursor.take(separator)) terms.push(read());
    return terms;
  }

  #negation(): Condition {
    if (this.#cursor.take('not')) return { kind: 'not', term: this.#negation() };
    if (this.#cursor.peek().text === '(' && !isMaskedArgument(this.#cursor)) {
      this.#cursor.expect('(');
      const condition = this.#condition();
      this.#cursor.expect(')');
      return condition;
    }
    return this.#test();
  }

  #test(): Condition {
    const operand = readOperand(this.#cursor, this.#context);
    const token = this.#cursor.next();
    if (token.text === '&') {
      throw new ExpressionError(
        token.offset,
        'expression',
        'a masked argument needs parentheses: (argument & BITS) == VALUE',
      );
    }
    if (compareOps.has(token.text)) {
      const at = this.#cursor.peek().offset;
      return this.#compare(operand, token.text as CompareOp, readValue(this.#cursor, this.#context.arch), at);
    }
    if (bitTests.has(token.text)) return this.#bitTest(operand, token);
    if (token.text === 'not' && this.#cursor.take('in')) return { kind: 'not', term: this.#membership(operand) };
    if (token.text === 'in') return this.#membership(operand);
    throw this.#cursor.unexpected(token, '==, !=, <, <=, >, >=, in, not in, only, has or lacks');
  }

  #compare(operand: Operand, op: CompareOp, raw: bigint, at: number): Condition {
    const value = bitsIn(operand, raw, at);
    if ((value & ~operand.mask) !== 0n && (op === '==' || op === '!=')) {
      throw new ExpressionError(
        at,
        'never-true',
        `the value has bits outside of the mask 0x${operand.mask.toString(16)}`,
      );
    }
    return { kind: 'compare', ...operand, op, value };
  }

  #bitTest(operand: Operand, token: Token): Condition {
    const ones = allOnes(operand.width);
    if (operand.mask !== ones || operand.signed) {
      throw new ExpressionError(
        token.offset,
        'expression',
        `"${token.text}" tests bits of the argument itself, without a mask or signed()`,
      );
    }
    const at = this.#cursor.peek().offset;
    const bits = bitsIn(operand, readValue(this.#cursor, this.#context.arch), at);
    if (token.text === 'only') {
      if (bits === ones) throw new ExpressionError(at, 'never-true', '"only" with all bits tests nothing');
      return { kind: 'compare', ...operand, mask: ones & ~bits, op: '==', value: 0n };
    }
    if (bits === 0n) throw new ExpressionError(at, 'never-true', `"${token.text}" with no bits tests nothing`);
    return { kind: 'compare', ...operand, mask: bits, op: '==', value: token.text === 'has' ? bits : 0n };
  }

  #membership(operand: Operand): Condition {
    if (!this.#cursor.take('[')) return this.#range(operand, true);
    const terms = [this.#range(operand, false)];
    while (this.#cursor.take(',')) terms.push(this.#range(operand, false));
    this.#cursor.expect(']');
    return this.#setOf(operand, terms);
  }

  /** `value .. value`, or where a range is not required, a single value. */
  #range(operand: Operand, required: boolean): Condition {
    const lowAt = this.#cursor.peek().offset;
    const low = readValue(this.#cursor, this.#context.arch);
    if (!required && this.#cursor.peek().text !== '..') return this.#compare(operand, '==', low, lowAt);
    if (!this.#cursor.take('..'))
      throw this.#cursor.unexpected(this.#cursor.peek(), '"..", as in `in 1..5`, or a list in [ ]');
    const highAt = this.#cursor.peek().offset;
    const high = readValue(this.#cursor, this.#context.arch);
    if (low > high)
      throw new ExpressionError(lowAt, 'never-true', 'the range is empty: its first value is above its last');
    return {
      kind: 'and',
      terms: [this.#compare(operand, '>=', low, lowAt), this.#compare(operand, '<=', high, highAt)],
    };
  }

  /** Single values of an unmasked argument become one set; ranges and masked values stay terms of an `or`. */
  #setOf(operand: Operand, terms: readonly Condition[]): Condition {
    const values: bigint[] = [];
    const rest: Condition[] = [];
    for (const term of terms) {
      if (term.kind === 'compare' && operand.mask === allOnes(operand.width)) values.push(term.value);
      else rest.push(term);
    }
    if (values.length > 0) {
      const unique = [...new Set(values)].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
      rest.unshift({ kind: 'in', arg: operand.arg, width: operand.width, values: unique });
    }
    return joined('or', rest);
  }
}

function joined(kind: 'and' | 'or', terms: readonly Condition[]): Condition {
  const [only] = terms;
  if (terms.length === 1 && only !== undefined) return only;
  return { kind, terms: terms.flatMap((term) => (term.kind === kind ? term.terms : [term])) };
}
