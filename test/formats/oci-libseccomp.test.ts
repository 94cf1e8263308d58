// SPDX-License-Identifier: Apache-2.0
// OCI files of equalities and masked equalities, imported and compiled here, beside Debian's libseccomp with the same entries as a runtime gives it:
// one function, and one answer of the running kernel.

import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { compileFilter } from '../../core/compiler/index.ts';
import { importOci } from '../../core/formats/import/oci.ts';
import { parseProfile } from '../../core/policy/index.ts';
import type { Action, FilterPolicy, SyscallCall } from '../../core/policy/types.ts';
import { encodeAction, x32Bit } from '../../core/simulator/index.ts';
import { auditArchOf, parametersOf, syscallNumber } from '../../core/tables/index.ts';
import { describeCall, diffPrograms } from '../../core/verifier/index.ts';
import type { PeerRule } from '../bench/expressible.ts';
import { libseccompProgram, type PeerShape } from '../bench/peer.ts';
import { KernelProbe } from '../kernel/kernel-probe.ts';

const arch = 'x86_64';
const numRuns = 25;
const shapes: readonly PeerShape[] = [
  { kind: 'linear', counts: { calls: new Map(), values: new Map() } },
  { kind: 'tree' },
];

const probe = new KernelProbe();
afterAll(() => probe[Symbol.dispose]());

interface Arg {
  readonly index: number;
  readonly value: bigint;
  readonly valueTwo: bigint;
  readonly masked: boolean;
}

/** What a runtime makes of one action, and what it is to us. */
const actions: readonly { readonly fields: object; readonly action: Action }[] = [
  { fields: { action: 'SCMP_ACT_ALLOW' }, action: { kind: 'allow' } },
  { fields: { action: 'SCMP_ACT_LOG' }, action: { kind: 'log' } },
  { fields: { action: 'SCMP_ACT_TRAP' }, action: { kind: 'trap' } },
  { fields: { action: 'SCMP_ACT_KILL_PROCESS' }, action: { kind: 'kill-process' } },
  { fields: { action: 'SCMP_ACT_ERRNO' }, action: { kind: 'errno', errno: 1, quiet: false } },
  { fields: { action: 'SCMP_ACT_ERRNO', errnoRet: 38 }, action: { kind: 'errno', errno: 38, quiet: false } },
];

const word = fc.oneof(fc.constantFrom(0n, 1n, 0x7fffffffn, 0x80000000n, 0xffffffffn), fc.bigInt(0n, 0xffffffffn));
const register = fc.oneof(
  word,
  fc.tuple(word, word).map(([high, low]) => (high << 32n) | low),
);
const calls = [
  'mmap',
  'ioctl',
  'clone',
  'socket',
  'fcntl',
  'prctl',
  'personality',
  'futex',
  'openat',
  'keyctl',
  'semctl',
];

const entryOf = (name: string) => {
  const indexes = parametersOf(arch, name).map(({ index }) => index);
  const arg: fc.Arbitrary<Arg> = fc.record({
    index: fc.constantFrom(...indexes),
    value: register,
    valueTwo: register,
    masked: fc.boolean(),
  });
  const ways = fc.array(fc.uniqueArray(arg, { selector: ({ index }) => index, maxLength: 3 }), {
    minLength: 1,
    maxLength: 4,
  });
  return fc.record({ name: fc.constant(name), ways, chosen: fc.constantFrom(...actions) });
};
const files = fc
  .tuple(
    fc.constantFrom(...actions),
    fc.subarray(calls, { minLength: 1 }).chain((names) => fc.tuple(...names.map(entryOf))),
  )
  .map(([fallback, entries]) => ({ fallback, entries: entries.filter(({ chosen }) => chosen !== fallback) }));

type FileOf = typeof files extends fc.Arbitrary<infer File> ? File : never;

describe('an OCI file', () => {
  test('is the function that libseccomp makes of its entries, and gets the same answers of the kernel', () => {
    fc.assert(
      fc.property(
        files,
        fc.array(fc.array(register, { minLength: 6, maxLength: 6 }), { minLength: 8, maxLength: 8 }),
        (file, registers) => {
          const filter = imported(file);
          const { program: ours } = compileFilter(filter);
          const rules = file.entries.flatMap(({ name, ways, chosen }) =>
            ways.map(
              (way): PeerRule => ({ action: encodeAction(chosen.action), nr: numberOf(name), when: conjunction(way) }),
            ),
          );
          for (const shape of shapes) {
            const theirs = libseccompProgram({ policy: filter, rules, leftOut: [] }, shape);
            const differences = diffPrograms(ours, theirs, arch).filter(({ from }) => from < x32Bit);
            expect(differences.map(({ call, first, second }) => [describeCall(call, arch), first, second])).toEqual([]);
            const asked = file.entries.flatMap(({ name, ways }) => [
              ...registers.map((args) => callOf(name, args)),
              ...ways.map((way) => callOf(name, meeting(way, registers[0] ?? []))),
            ]);
            expect(probe.ask(ours, asked)).toEqual(probe.ask(theirs, asked));
          }
        },
      ),
      { numRuns, endOnFailure: true },
    );
  }, 120_000);
});

function imported({ fallback, entries }: FileOf): FilterPolicy {
  const { action, errnoRet } = fallback.fields as { action: string; errnoRet?: number };
  const source = {
    defaultAction: action,
    ...(errnoRet === undefined ? {} : { defaultErrnoRet: errnoRet }),
    architectures: ['SCMP_ARCH_X86_64'],
    syscalls: entries.flatMap(({ name, ways, chosen }) =>
      ways.map((way) => ({
        names: [name],
        ...chosen.fields,
        args: way.map(({ index, value, valueTwo, masked }) => ({
          index,
          value: `#${value}`,
          valueTwo: `#${valueTwo}`,
          op: masked ? 'SCMP_CMP_MASKED_EQ' : 'SCMP_CMP_EQ',
        })),
      })),
    ),
  };
  // JSON numbers of 64 bits, which JSON.stringify cannot write.
  const text = JSON.stringify(source).replace(/"#(\d+)"/g, '$1');
  const { profileText } = importOci(text, { file: 'fuzz.json', arch });
  const include = (): never => {
    throw new Error('nothing is included');
  };
  const [stage] = parseProfile(profileText, { file: 'fuzz.yaml', arch, include }).stages;
  if (stage === undefined) throw new Error('an imported profile has a stage');
  return stage.filter;
}

function numberOf(name: string): number {
  return syscallNumber(arch, name) ?? -1;
}

function conjunction(way: readonly Arg[]): PeerRule['when'] {
  return new Map(
    way.map(({ index, value, valueTwo, masked }) => [
      index,
      masked ? { mask: value, value: valueTwo } : { mask: 0xffff_ffff_ffff_ffffn, value },
    ]),
  );
}

/** A call that the entry is about. */
function meeting(way: readonly Arg[], others: readonly bigint[]): bigint[] {
  const args = [...others];
  for (const { index, value, valueTwo, masked } of way)
    args[index] = masked ? ((args[index] ?? 0n) & ~value) | (valueTwo & value) : value;
  return args;
}

function callOf(name: string, [a = 0n, b = 0n, c = 0n, d = 0n, e = 0n, f = 0n]: readonly bigint[]): SyscallCall {
  return { nr: numberOf(name), auditArch: auditArchOf(arch), args: [a, b, c, d, e, f] };
}
