// SPDX-License-Identifier: Apache-2.0
// Random policies of equalities and masked equalities, compiled here and by Debian's libseccomp: both programs must be the same function.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileFilter } from '../../core/compiler/index.ts';
import type { Action, Condition, FilterPolicy, Rule, SyscallRules } from '../../core/policy/types.ts';
import { encodeAction, run, x32Bit } from '../../core/simulator/index.ts';
import { lastKnownNr } from '../../core/tables/index.ts';
import { describeCall, diffPrograms } from '../../core/verifier/index.ts';
import type { Conjunction, Expressible, MaskedValue } from '../bench/expressible.ts';
import { libseccompProgram, type PeerShape } from '../bench/peer.ts';
import { arbitraryCall } from './arbitrary-policy.ts';
import { decide } from './reference.ts';

const shapes: readonly PeerShape[] = [
  { kind: 'linear', counts: { calls: new Map(), values: new Map() } },
  { kind: 'tree' },
];

const numRuns = 250;

describe.each(shapes)('a filter of libseccomp ($kind)', (shape) => {
  test('is the same function as ours of the same rules', () => {
    fc.assert(
      fc.property(arbitraryRules, (given) => {
        const { expressible, policy } = given;
        const theirs = libseccompProgram(expressible, shape);
        const { program: ours } = compileFilter(policy);
        const differences = diffPrograms(ours, theirs, policy.arch).filter(({ from }) => from < x32Bit);
        expect(differences.map(({ call, first, second }) => [describeCall(call, policy.arch), first, second])).toEqual(
          [],
        );
      }),
      { numRuns, endOnFailure: true },
    );
  });

  test('answers in the simulator as the policy does', () => {
    const scenario = arbitraryRules.chain((given) =>
      fc.tuple(fc.constant(given), fc.array(arbitraryCall(given.policy), { minLength: 100, maxLength: 100 })),
    );
    fc.assert(
      fc.property(scenario, ([{ expressible, policy }, calls]) => {
        const theirs = libseccompProgram(expressible, shape);
        const { program: ours } = compileFilter(policy);
        for (const call of calls.filter(({ nr }) => nr < x32Bit)) {
          const expected = encodeAction(decide(policy, call));
          expect([call, run(theirs, call).rawAction]).toEqual([call, expected]);
          expect([call, run(ours, call).rawAction]).toEqual([call, expected]);
        }
      }),
      { numRuns: 100, endOnFailure: true },
    );
  });

  // libseccomp takes every number from bit 30 on for an x32 call, except -1, the number of a call that a tracer skipped.
  test('differs from ours only where no number is', () => {
    const { expressible, policy } = rulesOf({ kind: 'errno', errno: 1, quiet: true }, [
      { nr: 0, action: { kind: 'allow' }, ways: [new Map()] },
    ]);
    const differences = diffPrograms(compileFilter(policy).program, libseccompProgram(expressible, shape), policy.arch);
    expect(differences.map(({ from, to }) => [from, to])).toEqual([
      [0x8000_0000, 0xbfff_ffff],
      [0xffff_ffff, 0xffff_ffff],
    ]);
  });
});

const actions: readonly Action[] = [
  { kind: 'allow' },
  { kind: 'log' },
  { kind: 'broker' },
  { kind: 'trap' },
  { kind: 'trace', data: 7 },
  { kind: 'kill-thread' },
  { kind: 'kill-process' },
  { kind: 'errno', errno: 1, quiet: true },
  { kind: 'errno', errno: 38, quiet: true },
];

const word = fc.oneof(fc.constantFrom(0n, 1n, 2n, 0x7fffffffn, 0x80000000n, 0xffffffffn), fc.bigInt(0n, 0xffffffffn));
const register = fc.oneof(
  word,
  fc.tuple(word, word).map(([high, low]) => (high << 32n) | low),
);

const allBits = 0xffff_ffff_ffff_ffffn;

const maskedValue: fc.Arbitrary<MaskedValue> = fc.oneof(
  register.map((value) => ({ mask: allBits, value })),
  word.map((value) => ({ mask: 0xffffffffn, value })),
  fc
    .tuple(register, register)
    .filter(([mask]) => mask !== 0n)
    .map(([mask, value]) => ({ mask, value: value & mask })),
);

const conjunction: fc.Arbitrary<Conjunction> = fc
  .uniqueArray(fc.tuple(fc.nat(5), maskedValue), { maxLength: 3, selector: ([arg]) => arg })
  .map((pairs) => new Map(pairs));

interface Entry {
  readonly nr: number;
  readonly action: Action;
  readonly ways: readonly Conjunction[];
}

/** One answer a call: of overlapping rules with different ones, libseccomp's documents do not say which holds. */
const arbitraryRules = fc.constantFrom(...actions).chain((fallback) => {
  const others = actions.filter((action) => encodeAction(action) !== encodeAction(fallback));
  const entry: fc.Arbitrary<Entry> = fc.record({
    nr: fc.nat(lastKnownNr('x86_64')),
    action: fc.constantFrom(...others),
    ways: fc.array(conjunction, { minLength: 1, maxLength: 4 }),
  });
  return fc
    .uniqueArray(entry, { minLength: 1, maxLength: 12, selector: ({ nr }) => nr })
    .map((entries) => rulesOf(fallback, entries));
});

/** The same rules for both compilers. */
function rulesOf(
  fallback: Action,
  entries: readonly Entry[],
): { readonly policy: FilterPolicy; readonly expressible: Expressible } {
  const syscalls = entries.map(
    ({ nr, action, ways }): SyscallRules => ({
      nr,
      name: `call${nr}`,
      rules: ways.map((way) => ruleOf(action, conditionOf(way))),
      otherwise: fallback,
    }),
  );
  const policy: FilterPolicy = {
    arch: 'x86_64',
    syscalls: syscalls.sort((a, b) => a.nr - b.nr),
    otherwise: fallback,
    unknown: fallback,
    foreign: { kind: 'kill-process' },
    lastKnownNr: lastKnownNr('x86_64'),
  };
  const rules = entries.flatMap(({ nr, action, ways }) =>
    ways.map((when) => ({ action: encodeAction(action), nr, when })),
  );
  return { policy, expressible: { policy, rules, leftOut: [] } };
}

function conditionOf(way: Conjunction): Condition {
  const terms = [...way].map(
    ([arg, { mask, value }]): Condition => ({
      kind: 'compare',
      arg,
      width: 'full64',
      mask,
      op: '==',
      value,
      signed: false,
    }),
  );
  return terms.length === 0 ? { kind: 'always' } : { kind: 'and', terms };
}

function ruleOf(action: Action, when: Condition): Rule {
  const source = { file: 'random.yaml', line: 1, column: 1 };
  return { action, when, whenText: '', why: 'random', risk: undefined, source };
}
