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

import { constantNames, constantValue, parametersOf } from '../../tables/index.ts';
import { suggestion } from '../suggest.ts';
import type { Arch, CompareOp, Condition, Width } from '../types.ts';
import { ExpressionError } from './error.ts';
import { type Token, tokensOf } from './tokens.ts';
import { allOnes, bitsOf, type Operand } from './words.ts';

export interface ConditionContext {
  readonly arch: Arch;
  readonly syscall: string;
}

/** Reads a condition. Throws ExpressionError. */
export function parseCondition(text: string, context: ConditionContext): Condition {
  return new ConditionParser(text, context).parse();
}

const compareOps: ReadonlySet<string> = new Set<CompareOp>(['==', '!=', '<', '<=', '>', '>=']);
const bitTests: ReadonlySet<string> = new Set(['only', 'has', 'lacks']);
const widths: ReadonlyMap<string, Width> = new Map([
  ['u32', 'low32'],
  ['u32z', 'zero32'],
  ['s32', 'sign32'],
  ['u64', 'full64'],
]);
const words: ReadonlySet<string> = new Set(['and', 'or', 'not', 'in', 'signed', ...bitTests, ...widths.keys()]);

class ConditionParser {
  readonly #tokens: readonly Token[];
  readonly #context: ConditionContext;
  #position = 0;

  constructor(text: string, context: ConditionContext) {
    this.#tokens = tokensOf(text);
    this.#context = context;
  }

  parse(): Condition {
    const condition = this.#condition();
    const token = this.#peek();
    if (token.kind !== 'end') throw this.#unexpected(token, '"and", "or" or the end');
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
    while (this.#take(separator)) terms.push(read());
    return terms;
  }

  #negation(): Condition {
    if (this.#take('not')) return { kind: 'not', term: this.#negation() };
    if (this.#peek().text === '(' && !this.#isMaskedArgument()) {
      this.#expect('(');
      const condition = this.#condition();
      this.#expect(')');
      return condition;
    }
    return this.#test();
  }

  /** `( argument &` starts an operand, any other `(` a condition. */
  #isMaskedArgument(): boolean {
    let position = this.#position + 1;
    const first = this.#tokens[position];
    if (first?.kind !== 'name') return false;
    position += widths.has(first.text) && this.#tokens[position + 1]?.text === '(' ? 4 : 1;
    return this.#tokens[position]?.text === '&';
  }

  #test(): Condition {
    const operand = this.#operand();
    const token = this.#next();
    if (token.text === '&') {
      throw new ExpressionError(
        token.offset,
        'expression',
        'a masked argument needs parentheses: (argument & BITS) == VALUE',
      );
    }
    if (compareOps.has(token.text)) {
      const at = this.#peek().offset;
      return this.#compare(operand, token.text as CompareOp, this.#value(), at);
    }
    if (bitTests.has(token.text)) return this.#bitTest(operand, token);
    if (token.text === 'not' && this.#take('in')) return { kind: 'not', term: this.#membership(operand) };
    if (token.text === 'in') return this.#membership(operand);
    throw this.#unexpected(token, '==, !=, <, <=, >, >=, in, not in, only, has or lacks');
  }

  #operand(): Operand {
    if (this.#take('signed')) {
      this.#expect('(');
      const operand = this.#argument();
      this.#expect(')');
      return { ...operand, signed: true };
    }
    if (!this.#take('(')) return this.#argument();
    const operand = this.#argument();
    this.#expect('&');
    const at = this.#peek().offset;
    const mask = this.#bits(operand, this.#value(), at);
    this.#expect(')');
    if (mask === 0n) throw new ExpressionError(at, 'never-true', 'a mask of 0 leaves nothing to compare');
    return { ...operand, mask };
  }

  #argument(): Operand {
    const token = this.#next();
    const width = widths.get(token.text);
    if (width === undefined || this.#peek().text !== '(') return this.#named(token, undefined);
    this.#expect('(');
    const operand = this.#named(this.#next(), width);
    this.#expect(')');
    return operand;
  }

  #named(token: Token, width: Width | undefined): Operand {
    const { arch, syscall } = this.#context;
    if (token.kind !== 'name' || words.has(token.text)) throw this.#unexpected(token, `an argument of ${syscall}`);
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

  #compare(operand: Operand, op: CompareOp, raw: bigint, at: number): Condition {
    const value = this.#bits(operand, raw, at);
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
    const at = this.#peek().offset;
    const bits = this.#bits(operand, this.#value(), at);
    if (token.text === 'only') {
      if (bits === ones) throw new ExpressionError(at, 'never-true', '"only" with all bits tests nothing');
      return { kind: 'compare', ...operand, mask: ones & ~bits, op: '==', value: 0n };
    }
    if (bits === 0n) throw new ExpressionError(at, 'never-true', `"${token.text}" with no bits tests nothing`);
    return { kind: 'compare', ...operand, mask: bits, op: '==', value: token.text === 'has' ? bits : 0n };
  }

  #membership(operand: Operand): Condition {
    if (!this.#take('[')) return this.#range(operand, true);
    const terms = [this.#range(operand, false)];
    while (this.#take(',')) terms.push(this.#range(operand, false));
    this.#expect(']');
    return this.#setOf(operand, terms);
  }

  /** `value .. value`, or where a range is not required, a single value. */
  #range(operand: Operand, required: boolean): Condition {
    const lowAt = this.#peek().offset;
    const low = this.#value();
    if (!required && this.#peek().text !== '..') return this.#compare(operand, '==', low, lowAt);
    if (!this.#take('..')) throw this.#unexpected(this.#peek(), '"..", as in `in 1..5`, or a list in [ ]');
    const highAt = this.#peek().offset;
    const high = this.#value();
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

  /** A value as the unsigned bit pattern of the operand's width; a negative one as two's complement. */
  #bits(operand: Operand, value: bigint, at: number): bigint {
    const bits = bitsOf(operand.width, value);
    if (bits !== undefined) return bits;
    const size = operand.width === 'full64' ? 64 : 32;
    throw new ExpressionError(at, 'out-of-range', `${value} does not fit the ${size} bits of this argument`);
  }

  // C's precedence, lowest first: | ^ & (<< >>) (+ -) (~ -)

  #value(): bigint {
    return this.#binary(0);
  }

  #binary(level: number): bigint {
    const operators = precedence[level];
    if (operators === undefined) return this.#unary();
    let left = this.#binary(level + 1);
    for (;;) {
      const token = this.#peek();
      const apply = operators.get(token.text);
      if (apply === undefined || token.kind !== 'symbol') return left;
      this.#position++;
      const right = this.#binary(level + 1);
      if ((token.text === '<<' || token.text === '>>') && (right < 0n || right > 63n)) {
        throw new ExpressionError(token.offset, 'out-of-range', 'a shift must be by 0 to 63 bits');
      }
      left = apply(left, right);
    }
  }

  #unary(): bigint {
    const token = this.#next();
    if (token.text === '~') return ~this.#unary();
    if (token.text === '-') return -this.#unary();
    if (token.text === '(') {
      const value = this.#value();
      this.#expect(')');
      return value;
    }
    if (token.kind === 'number') return BigInt(token.text);
    if (token.kind === 'name' && !words.has(token.text)) return this.#constant(token);
    throw this.#unexpected(token, 'a constant or a number');
  }

  #constant(token: Token): bigint {
    const { arch } = this.#context;
    const value = constantValue(arch, token.text);
    if (value !== undefined) return value;
    const names = constantNames(arch);
    throw new ExpressionError(
      token.offset,
      'unknown-constant',
      `unknown constant "${token.text}" on ${arch}${suggestion(token.text, names)}`,
    );
  }

  #peek(): Token {
    return this.#tokens[this.#position] ?? { kind: 'end', text: 'the end', offset: 0 };
  }

  #next(): Token {
    const token = this.#peek();
    if (token.kind !== 'end') this.#position++;
    return token;
  }

  #take(text: string): boolean {
    const token = this.#peek();
    if (token.kind === 'end' || token.text !== text) return false;
    this.#position++;
    return true;
  }

  #expect(text: string): void {
    if (!this.#take(text)) throw this.#unexpected(this.#peek(), `"${text}"`);
  }

  #unexpected(token: Token, wanted: string): ExpressionError {
    const found = token.kind === 'end' ? 'the end' : `"${token.text}"`;
    return new ExpressionError(token.offset, 'expression', `expected ${wanted}, found ${found}`);
  }
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

/** arg0 to arg5, except where the call itself names its arguments so (prctl's and keyctl's count from 1). */
function positional(name: string, parameters: ReturnType<typeof parametersOf>) {
  const index = /^arg([0-5])$/.exec(name)?.[1];
  const ambiguous = parameters.some(({ names }) => names.some((known) => /^arg\d$/.test(known)));
  if (index === undefined || ambiguous) return undefined;
  return parameters[Number(index)];
}

function joined(kind: 'and' | 'or', terms: readonly Condition[]): Condition {
  const [only] = terms;
  if (terms.length === 1 && only !== undefined) return only;
  return { kind, terms: terms.flatMap((term) => (term.kind === kind ? term.terms : [term])) };
}
