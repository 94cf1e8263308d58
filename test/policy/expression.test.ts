// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type ConditionContext,
  canBothHold,
  formatCondition,
  matches,
  parseCondition,
  satisfiable,
} from '../../core/policy/index.ts';
import type { CompareOp, Condition, Width } from '../../core/policy/types.ts';

const socket: ConditionContext = { arch: 'x86_64', syscall: 'socket' };
const mmap: ConditionContext = { arch: 'x86_64', syscall: 'mmap' };

function holds(text: string, context: ConditionContext, ...args: bigint[]): boolean {
  return matches(parseCondition(text, context), args);
}

const high = 0x1_0000_0000n;
const minusOne32 = 0xffff_ffffn;
const minusOne64 = 0xffff_ffff_ffff_ffffn;

interface Row {
  readonly when: string;
  readonly context: ConditionContext;
  readonly yes: readonly bigint[];
  readonly no: readonly bigint[];
}

/** The first argument of the call gets each value: domain (32 bits) or addr (64 bits). */
const rows: readonly Row[] = [
  // 32 bits: the high half of the register means nothing.
  {
    when: 'domain == AF_UNIX',
    context: socket,
    yes: [1n, high + 1n, minusOne64 - minusOne32 + 1n],
    no: [0n, 2n, high],
  },
  { when: 'domain != AF_UNIX', context: socket, yes: [0n, 2n, high], no: [1n, high + 1n] },
  { when: 'domain < 3', context: socket, yes: [0n, 2n, high], no: [3n, minusOne32, minusOne64] },
  { when: 'domain <= 3', context: socket, yes: [3n, high + 3n], no: [4n, minusOne32] },
  { when: 'domain > 3', context: socket, yes: [4n, minusOne32], no: [3n, high, high + 3n] },
  { when: 'domain >= 3', context: socket, yes: [3n, minusOne64], no: [2n, high + 2n] },
  { when: 'domain == -1', context: socket, yes: [minusOne32, minusOne64], no: [minusOne32 - 1n, 0n] },
  { when: 'domain in [1, 5..7, 9]', context: socket, yes: [1n, 5n, 6n, 7n, 9n, high + 6n], no: [0n, 2n, 4n, 8n, 10n] },
  { when: 'domain not in [1, 5..7]', context: socket, yes: [0n, 4n, 8n, minusOne64], no: [1n, 5n, 7n, high + 7n] },
  { when: 'domain in 5..7', context: socket, yes: [5n, 7n], no: [4n, 8n] },
  { when: 'domain only 0b101', context: socket, yes: [0n, 1n, 4n, 5n, high], no: [2n, 7n, 8n, minusOne32] },
  { when: 'domain has 0b101', context: socket, yes: [5n, 7n, minusOne64], no: [0n, 1n, 4n, high] },
  { when: 'domain lacks 0b101', context: socket, yes: [0n, 2n, high], no: [1n, 4n, 5n, minusOne32] },
  { when: '(domain & 0xf0) == 0x30', context: socket, yes: [0x30n, 0x3fn, 0x130n], no: [0x20n, 0xb0n, high] },
  { when: '(domain & 0xf0) > 0x30', context: socket, yes: [0x40n, 0xffn], no: [0x3fn, 0x0fn, 0x100n] },
  {
    when: 'signed(domain) < 0',
    context: socket,
    yes: [minusOne32, 0x8000_0000n, high + 0x8000_0000n],
    no: [0n, 0x7fff_ffffn, high],
  },
  {
    when: 'signed(domain) >= -5',
    context: socket,
    yes: [0n, 0x7fff_ffffn, minusOne32 - 4n],
    no: [minusOne32 - 5n, 0x8000_0000n],
  },
  { when: 'signed(domain) in -1..1', context: socket, yes: [minusOne32, 0n, 1n], no: [minusOne32 - 1n, 2n] },
  // 64 bits: the whole register.
  { when: 'addr == NULL', context: mmap, yes: [0n], no: [1n, high, 1n << 63n] },
  { when: 'addr < 0x100000000', context: mmap, yes: [0n, minusOne32], no: [high, minusOne64] },
  {
    when: 'addr >= 0xffffffff00000000',
    context: mmap,
    yes: [minusOne64, minusOne64 - minusOne32],
    no: [0n, minusOne64 - minusOne32 - 1n],
  },
  { when: 'addr == -1', context: mmap, yes: [minusOne64], no: [minusOne32, 0n] },
  { when: 'signed(addr) < 0', context: mmap, yes: [minusOne64, 1n << 63n], no: [0n, (1n << 63n) - 1n, minusOne32] },
  { when: 'addr only 1 << 40', context: mmap, yes: [0n, 1n << 40n], no: [1n, 1n << 41n, 1n << 63n] },
  // Widths chosen by the rule.
  { when: 'u32(addr) == 1', context: mmap, yes: [1n, high + 1n], no: [0n, high] },
  { when: 'u64(domain) == 1', context: socket, yes: [1n], no: [high + 1n] },
  { when: 'u32z(domain) == 1', context: socket, yes: [1n], no: [high + 1n, 0n] },
  { when: 'u32z(domain) != 1', context: socket, yes: [0n, minusOne32], no: [1n, high, minusOne64] },
  { when: 'not u32z(domain) == 1', context: socket, yes: [0n, high + 1n, minusOne64], no: [1n] },
  { when: 's32(domain) == -1', context: socket, yes: [minusOne64], no: [minusOne32, 0n] },
  { when: 's32(domain) == 1', context: socket, yes: [1n], no: [high + 1n, minusOne64 - minusOne32 + 1n] },
  {
    when: 'signed(s32(domain)) < 0',
    context: socket,
    yes: [minusOne64, minusOne64 - 0x7fff_ffffn],
    no: [minusOne32, 0n, 1n << 63n],
  },
  { when: 's32(domain) in [1, -2]', context: socket, yes: [1n, minusOne64 - 1n], no: [minusOne32 - 1n, high + 1n] },
  // Values.
  { when: 'domain == (SOCK_STREAM | SOCK_CLOEXEC) & ~SOCK_CLOEXEC', context: socket, yes: [1n], no: [0x80001n] },
  { when: 'domain == 1 << 3 + 1', context: socket, yes: [16n], no: [9n] },
  { when: 'domain == 6 ^ 3', context: socket, yes: [5n], no: [6n] },
  { when: 'domain == 0o17', context: socket, yes: [15n], no: [17n] },
  { when: 'domain == 7 - 2 - 1', context: socket, yes: [4n], no: [6n] },
  // Logic: not before and before or.
  { when: 'domain == 1 or domain == 2 and domain > 5', context: socket, yes: [1n], no: [2n] },
  { when: '(domain == 1 or domain == 2) and domain > 1', context: socket, yes: [2n], no: [1n] },
  { when: 'not domain == 1 and domain < 3', context: socket, yes: [0n, 2n], no: [1n, 3n] },
  { when: 'not (domain == 1 or domain == 3)', context: socket, yes: [0n, 2n], no: [1n, 3n] },
];

describe('a condition', () => {
  it.each(rows)('$when', ({ when, context, yes, no }) => {
    for (const value of yes) expect(holds(when, context, value), `0x${value.toString(16)}`).toBe(true);
    for (const value of no) expect(holds(when, context, value), `0x${value.toString(16)}`).toBe(false);
  });

  it('names arguments as the kernel and as the manual page does, or by position', () => {
    const ioctl = { arch: 'x86_64', syscall: 'ioctl' } as const;
    for (const name of ['cmd', 'request', 'arg1']) expect(holds(`${name} == TIOCSTI`, ioctl, 0n, 0x5412n)).toBe(true);
  });

  it('takes positions only where the call does not count its own arguments from 1', () => {
    const prctl = { arch: 'x86_64', syscall: 'prctl' } as const;
    expect(holds('arg2 == 7', prctl, 0n, 7n)).toBe(true);
    expect(() => parseCondition('arg0 == 1', prctl)).toThrow(/no argument "arg0"/);
  });

  it.each([
    ['domain = 1', 7, 'write "=="'],
    ['domain == 1 || type == 1', 12, 'write "or"'],
    ['!domain == 1', 0, 'write "not"'],
    ['domain == 010', 10, 'octal'],
    ['domain & 1 == 1', 7, 'parentheses'],
    ['domain == 1 and', 15, 'found the end'],
    ['domain == 1 type == 2', 12, '"and", "or"'],
    ['domain in [1, 2', 15, '"]"'],
    ['domain in 1', 11, '".."'],
    ['domain in 5..1', 10, 'empty'],
    ['domain == 1 << 64', 12, '0 to 63'],
    ['domain == 4294967296', 10, '32 bits'],
    ['domain == -2147483649', 10, '32 bits'],
    ['domain has 0', 11, 'tests nothing'],
    ['domain only ~0', 12, 'tests nothing'],
    ['(domain & 0) == 0', 10, 'nothing to compare'],
    ['(domain & 1) == 2', 16, 'outside of the mask'],
    ['signed(domain) has 1', 15, 'without a mask'],
    ['fd == 1', 0, 'no argument "fd"'],
    ['domain == AF_UNXI', 10, 'AF_UNIX'],
    ['u32(domain', 10, '")"'],
    ['', 0, 'an argument of socket'],
  ])('%s is refused at the right place', (text, offset, says) => {
    expect(() => parseCondition(text, socket)).toThrowError(
      expect.objectContaining({ offset, message: expect.stringContaining(says) }),
    );
  });
});

const widths: readonly Width[] = ['low32', 'zero32', 'sign32', 'full64'];
const operators: readonly CompareOp[] = ['==', '!=', '<', '<=', '>', '>='];
const interesting = [
  0n,
  1n,
  2n,
  3n,
  5n,
  0x7fff_ffffn,
  0x8000_0000n,
  minusOne32,
  high,
  high + 1n,
  1n << 63n,
  minusOne64 - minusOne32,
  minusOne64 - 1n,
  minusOne64,
];
const register = fc.oneof(fc.constantFrom(...interesting), fc.bigInt(0n, minusOne64));

function word(width: Width) {
  const max = width === 'full64' ? minusOne64 : minusOne32;
  return fc.oneof(fc.constantFrom(...interesting.map((value) => value & max)), fc.bigInt(0n, max));
}

const compare: fc.Arbitrary<Condition> = fc.constantFrom(...widths).chain((width) =>
  fc
    .record({
      arg: fc.integer({ min: 0, max: 2 }),
      mask: word(width),
      op: fc.constantFrom(...operators),
      value: word(width),
      signed: fc.boolean(),
    })
    .map(({ arg, mask, op, value, signed }): Condition => {
      const ones = width === 'full64' ? minusOne64 : minusOne32;
      const kept = signed || mask === 0n ? ones : mask;
      return { kind: 'compare', arg, width, mask: kept, op, value: value & kept, signed };
    }),
);

const membership: fc.Arbitrary<Condition> = fc.constantFrom(...widths).chain((width) =>
  fc
    .record({
      arg: fc.integer({ min: 0, max: 2 }),
      values: fc.uniqueArray(word(width), { minLength: 1, maxLength: 5 }),
    })
    .map(({ arg, values }): Condition => ({ kind: 'in', arg, width, values: values.sort((a, b) => (a < b ? -1 : 1)) })),
);

const condition: fc.Arbitrary<Condition> = fc.letrec<{ tree: Condition; leaf: Condition }>((tie) => ({
  leaf: fc.oneof(compare, membership),
  tree: fc.oneof(
    { maxDepth: 3 },
    tie('leaf'),
    fc.record({
      kind: fc.constantFrom('and' as const, 'or' as const),
      terms: fc.array(tie('tree'), { minLength: 2, maxLength: 3 }),
    }),
    fc.record({ kind: fc.constant('not' as const), term: tie('tree') }),
  ),
})).tree;

/** Every value that a condition names, and its neighbours, in every width's shape. */
function boundaries(of: Condition): readonly bigint[] {
  switch (of.kind) {
    case 'compare':
      return around([of.value, of.mask]);
    case 'in':
      return around(of.values);
    case 'and':
    case 'or':
      return of.terms.flatMap(boundaries);
    case 'not':
      return boundaries(of.term);
    default:
      return [];
  }
}

function around(values: readonly bigint[]): readonly bigint[] {
  return values
    .flatMap((value) => [value - 1n, value, value + 1n, value + high, BigInt.asUintN(64, BigInt.asIntN(32, value))])
    .map((value) => BigInt.asUintN(64, value));
}

const context: ConditionContext = { arch: 'x86_64', syscall: 'socket' };

describe('conditions in general', () => {
  it('mean the same after they were printed and read again', () => {
    fc.assert(
      fc.property(condition, fc.tuple(register, register, register), (tree, args) => {
        const again = parseCondition(formatCondition(tree, context), context);
        for (const value of [...args, ...boundaries(tree)]) {
          for (const position of [0, 1, 2]) {
            const probe = args.map((arg, index) => (index === position ? value : arg));
            expect(matches(again, probe)).toBe(matches(tree, probe));
          }
        }
      }),
      { numRuns: 400 },
    );
  });

  it('are satisfiable when some arguments meet them', () => {
    fc.assert(
      fc.property(condition, fc.tuple(register, register, register), (tree, args) => {
        const probes = [args, ...boundaries(tree).map((value) => [value, value, value])];
        if (probes.some((probe) => matches(tree, probe))) expect(satisfiable(tree)).not.toBe('no');
      }),
      { numRuns: 400 },
    );
  });

  it('are satisfiable only when some arguments meet them (all values of a few bits tried)', () => {
    const small = fc.integer({ min: 0, max: 7 }).map(BigInt);
    const leaf: fc.Arbitrary<Condition> = fc
      .record({ mask: fc.integer({ min: 1, max: 7 }).map(BigInt), op: fc.constantFrom(...operators), value: small })
      .map(({ mask, op, value }) => ({ kind: 'compare', arg: 0, width: 'full64', mask, op, value, signed: false }));
    const outside: Condition = {
      kind: 'compare',
      arg: 0,
      width: 'full64',
      mask: minusOne64,
      op: '<=',
      value: 7n,
      signed: false,
    };
    fc.assert(
      fc.property(fc.array(leaf, { minLength: 1, maxLength: 5 }), fc.boolean(), (terms, any) => {
        const tree: Condition = { kind: 'and', terms: [outside, any ? { kind: 'or', terms } : { kind: 'and', terms }] };
        const met = [0n, 1n, 2n, 3n, 4n, 5n, 6n, 7n].some((value) => matches(tree, [value]));
        expect(satisfiable(tree)).toBe(met ? 'yes' : 'no');
      }),
      { numRuns: 500 },
    );
  });

  it.each([
    ['domain == 1', 'domain == 2', 'no'],
    ['domain has 3', 'domain lacks 2', 'no'],
    ['domain has 1', 'domain lacks 2', 'yes'],
    ['domain only 3', 'domain > 3', 'no'],
    ['domain only 3', 'domain >= 3', 'yes'],
    ['domain in [1, 2]', 'domain not in [1, 2]', 'no'],
    ['domain == 1', 'type == 2', 'yes'],
    ['signed(domain) < 0', 'domain < 5', 'no'],
    ['signed(domain) < 0', 'domain > 5', 'yes'],
    ['u32z(domain) == 1', 's32(domain) == 1', 'yes'],
    ['u32z(domain) == 0x80000000', 's32(domain) == 0x80000000', 'no'],
    ['u64(domain) == 0x100000001', 'domain == 1', 'yes'],
    ['u64(domain) == 0x100000001', 'u32z(domain) == 1', 'no'],
    ['(domain & 0xf0) == 0x30', '(domain & 0xff) < 0x30', 'no'],
    ['(domain & 0xf0) == 0x30', '(domain & 0x1f) == 0x1f', 'yes'],
    ['(domain & 0xf0) == 0x30', '(domain & 0x1f) == 0x0f', 'no'],
  ])('"%s" and "%s" can both hold: %s', (a, b, answer) => {
    expect(canBothHold(parseCondition(a, socket), parseCondition(b, socket))).toBe(answer);
  });

  it('of thousands of values are compared quickly', () => {
    const list = (first: number) =>
      `domain in [${Array.from({ length: 2500 }, (_, index) => first + index * 2).join(', ')}]`;
    const started = performance.now();
    expect(canBothHold(parseCondition(list(0), socket), parseCondition(list(1), socket))).toBe('no');
    expect(performance.now() - started).toBeLessThan(1000);
  });
});
