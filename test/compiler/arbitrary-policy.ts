// SPDX-License-Identifier: Apache-2.0
// Random policies with every operator, width and action, and calls that lie on and beside their boundaries.

import fc from 'fast-check';
import type {
  Action,
  Arch,
  Condition,
  FilterPolicy,
  Rule,
  SyscallCall,
  SyscallRules,
  Width,
} from '../../core/policy/types.ts';

const archNumbers = { x86_64: 0xc000003e, aarch64: 0xc00000b7, riscv64: 0xc00000f3 } as const;

export const arbitraryAction: fc.Arbitrary<Action> = fc.oneof(
  { weight: 4, arbitrary: fc.constant<Action>({ kind: 'allow' }) },
  fc.constantFrom<Action>(
    { kind: 'broker' },
    { kind: 'log' },
    { kind: 'trap' },
    { kind: 'kill-thread' },
    { kind: 'kill-process' },
  ),
  fc.record({ kind: fc.constant('errno' as const), errno: fc.constantFrom(1, 13, 38, 4095), quiet: fc.boolean() }),
  fc.record({ kind: fc.constant('trace' as const), data: fc.constantFrom(0, 7, 0xffff) }),
);

const interesting32 = fc.oneof(
  fc.constantFrom(0n, 1n, 2n, 0x7fffffffn, 0x80000000n, 0xfffffffen, 0xffffffffn, 0xffffff9cn, 0x10000n),
  fc.bigInt(0n, 64n),
  fc.bigInt(0n, 0xffffffffn),
);

const interesting64 = fc.oneof(
  interesting32,
  fc.constantFrom(0x100000000n, 0xffffffffn << 32n, 0x7fffffffffffffffn, 0x8000000000000000n, 0xffffffffffffffffn),
  fc.tuple(interesting32, interesting32).map(([high, low]) => (high << 32n) | low),
);

const arbitraryWidth = fc.constantFrom<Width>('low32', 'zero32', 'sign32', 'full64');

const ofWidth = (width: Width): fc.Arbitrary<bigint> => (width === 'full64' ? interesting64 : interesting32);

const allOnes = (width: Width): bigint => (width === 'full64' ? 0xffffffffffffffffn : 0xffffffffn);

const arbitraryArgument = fc.oneof({ weight: 3, arbitrary: fc.constantFrom(0, 1) }, fc.nat(5));

const arbitraryCompare: fc.Arbitrary<Condition> = fc
  .tuple(arbitraryArgument, arbitraryWidth, fc.boolean(), fc.boolean())
  .chain(([arg, width, signed, masked]) =>
    fc.record({
      kind: fc.constant('compare' as const),
      arg: fc.constant(arg),
      width: fc.constant(width),
      mask: signed || !masked ? fc.constant(allOnes(width)) : ofWidth(width),
      op: fc.constantFrom('==', '!=', '<', '<=', '>', '>='),
      value: ofWidth(width),
      signed: fc.constant(signed),
    }),
  );

const arbitrarySet: fc.Arbitrary<Condition> = fc.tuple(arbitraryArgument, arbitraryWidth).chain(([arg, width]) =>
  fc.record({
    kind: fc.constant('in' as const),
    arg: fc.constant(arg),
    width: fc.constant(width),
    values: fc.array(ofWidth(width), { maxLength: 12 }),
  }),
);

export const arbitraryCondition: fc.Arbitrary<Condition> = fc.letrec<{ condition: Condition }>((tie) => ({
  condition: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    { weight: 4, arbitrary: arbitraryCompare },
    { weight: 2, arbitrary: arbitrarySet },
    { weight: 1, arbitrary: fc.constantFrom<Condition>({ kind: 'always' }, { kind: 'never' }) },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constantFrom('and' as const, 'or' as const),
        terms: fc.array(tie('condition'), { maxLength: 3 }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('not' as const), term: tie('condition') }) },
  ),
})).condition;

const source = { file: 'random.yaml', line: 1, column: 1 };

const ruleOf = (action: Action, when: Condition): Rule => ({
  action,
  when,
  whenText: '',
  why: 'random',
  risk: undefined,
  source,
});

/** Rules that exclude each other: each holds only where the ones before it do not. */
const arbitraryRules = (nr: number): fc.Arbitrary<SyscallRules> =>
  fc
    .tuple(fc.array(fc.tuple(arbitraryAction, arbitraryCondition), { maxLength: 3 }), arbitraryAction)
    .map(([given, otherwise]) => {
      const rules = given.map(([action, when], index) => {
        const earlier = given.slice(0, index).map(([, term]): Condition => ({ kind: 'not', term }));
        return ruleOf(action, earlier.length === 0 ? when : { kind: 'and', terms: [...earlier, when] });
      });
      return { nr, name: `call${nr}`, rules, otherwise };
    });

export const arbitraryPolicy: fc.Arbitrary<FilterPolicy> = fc
  .record({
    arch: fc.constantFrom<Arch>('x86_64', 'aarch64', 'riscv64'),
    numbers: fc.uniqueArray(fc.oneof(fc.nat(40), fc.nat(470)), { maxLength: 24 }),
    otherwise: arbitraryAction,
    unknown: arbitraryAction,
    foreign: arbitraryAction,
  })
  .chain(({ numbers, ...rest }) =>
    fc
      .tuple(...numbers.toSorted((a, b) => a - b).map(arbitraryRules))
      .map((syscalls): FilterPolicy => ({ ...rest, syscalls, lastKnownNr: 471 })),
  );

/** Calls around everything that the policy mentions. */
export function arbitraryCall(policy: FilterPolicy): fc.Arbitrary<SyscallCall> {
  const constants = [
    ...new Set(policy.syscalls.flatMap((syscall) => syscall.rules.flatMap((rule) => constantsOf(rule.when)))),
  ];
  const near = constants.flatMap((value) =>
    [value, value - 1n, value + 1n, value ^ (1n << 32n), value | (0xffffffffn << 32n)].map((v) =>
      BigInt.asUintN(64, v),
    ),
  );
  const argument = near.length === 0 ? interesting64 : fc.oneof(fc.constantFrom(...near), interesting64);
  const listed = policy.syscalls.map((syscall) => syscall.nr);
  const beside = listed.flatMap((nr) => [nr, nr, nr, Math.max(0, nr - 1), nr + 1]);
  const edges = [
    0,
    policy.lastKnownNr,
    policy.lastKnownNr + 1,
    0x3fffffff,
    0x40000000,
    0x40000001,
    0x7fffffff,
    0x80000000,
    0xbfffffff,
    0xc0000000,
    0xffffffff,
  ];
  const arch = archNumbers[policy.arch];
  return fc.record({
    nr: fc.constantFrom(...beside, ...beside, ...edges),
    auditArch: fc.oneof(
      { weight: 12, arbitrary: fc.constant(arch) },
      fc.constantFrom(0x40000003, 0xc000003e, arch + 1, arch - 1, 0),
    ),
    args: fc.tuple(argument, argument, argument, argument, argument, argument),
  });
}

function constantsOf(condition: Condition): bigint[] {
  switch (condition.kind) {
    case 'compare':
      return [condition.value, condition.mask, condition.value & condition.mask, condition.value | ~condition.mask];
    case 'in':
      return [...condition.values];
    case 'and':
    case 'or':
      return condition.terms.flatMap(constantsOf);
    case 'not':
      return constantsOf(condition.term);
    default:
      return [];
  }
}
