// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { importOci } from '../../core/formats/import/oci.ts';
import { evaluate, parseProfile } from '../../core/policy/index.ts';
import type { Arch, FilterPolicy } from '../../core/policy/types.ts';
import { auditArchOf, syscallNumber } from '../../core/tables/index.ts';

function load(source: object, options: { arch?: Arch; capabilities?: readonly string[] } = {}) {
  const arch = options.arch ?? 'x86_64';
  const { profileText, losses } = importOci(toJson(source), { file: 'seccomp.json', ...options, arch });
  const profile = parseProfile(profileText, { file: 'imported.yaml', arch, include: () => ({ text: '', file: '' }) });
  const filter = profile.stages[0]?.filter;
  if (filter === undefined) throw new Error('no stage');
  return { filter, losses, profileText };
}

/** 64-bit values as JSON numbers. */
function toJson(value: unknown): string {
  return JSON.stringify(value, (_, part) => (typeof part === 'bigint' ? `#${part}#` : part)).replace(
    /"#(\d+)#"/g,
    '$1',
  );
}

function answer(filter: FilterPolicy, call: string, ...args: readonly bigint[]): string {
  const at = (index: number): bigint => args[index] ?? 0n;
  const { action } = evaluate(filter, {
    nr: syscallNumber(filter.arch, call) ?? -1,
    auditArch: auditArchOf(filter.arch),
    args: [at(0), at(1), at(2), at(3), at(4), at(5)],
  });
  return action.kind === 'errno' ? `errno ${action.errno}` : action.kind;
}

const errnoDefault = { defaultAction: 'SCMP_ACT_ERRNO' };

describe('importing OCI and Docker profiles', () => {
  it('takes over names, actions and defaults', () => {
    const { filter, losses } = load({
      defaultAction: 'SCMP_ACT_ERRNO',
      defaultErrnoRet: 38,
      syscalls: [
        { names: ['read', 'write'], action: 'SCMP_ACT_ALLOW' },
        { name: 'close', action: 'SCMP_ACT_LOG' },
        { names: ['ptrace'], action: 'SCMP_ACT_ALLOW' },
        { names: ['bind'], action: 'SCMP_ACT_ERRNO' },
        { names: ['listen'], action: 'SCMP_ACT_ERRNO', errnoRet: 13 },
        { names: ['reboot'], action: 'SCMP_ACT_KILL_PROCESS' },
        { names: ['mount'], action: 'SCMP_ACT_KILL' },
        { names: ['dup'], action: 'SCMP_ACT_TRAP' },
        { names: ['dup3'], action: 'SCMP_ACT_TRACE', errnoRet: 9 },
      ],
    });
    expect(
      ['read', 'close', 'ptrace', 'bind', 'listen', 'reboot', 'mount', 'dup', 'dup3', 'openat'].map((call) =>
        answer(filter, call),
      ),
    ).toEqual([
      'allow',
      'log',
      'allow',
      'errno 1',
      'errno 13',
      'kill-process',
      'kill-thread',
      'trap',
      'trace',
      'errno 38',
    ]);
    expect(losses).toEqual([]);
  });

  it('finds it in a whole config.json, and under the spec of a Kubernetes profile', () => {
    const seccomp = { ...errnoDefault, syscalls: [{ names: ['read'], action: 'SCMP_ACT_ALLOW' }] };
    for (const source of [
      { ociVersion: '1.1.0', linux: { seccomp } },
      { kind: 'SeccompProfile', spec: seccomp },
    ]) {
      expect(answer(load(source).filter, 'read')).toBe('allow');
    }
  });

  it('requires all arguments of an entry, any of its entries, and any of two tests of one index', () => {
    const eq = (index: number, value: number) => ({ index, value, op: 'SCMP_CMP_EQ' });
    const { filter } = load({
      ...errnoDefault,
      syscalls: [
        { names: ['socket'], action: 'SCMP_ACT_ALLOW', args: [eq(0, 1), eq(1, 2)] },
        { names: ['socket'], action: 'SCMP_ACT_ALLOW', args: [eq(0, 10)] },
        { names: ['personality'], action: 'SCMP_ACT_ALLOW', args: [eq(0, 0), eq(0, 8)] },
      ],
    });
    expect([
      answer(filter, 'socket', 1n, 2n),
      answer(filter, 'socket', 1n, 1n),
      answer(filter, 'socket', 10n, 7n),
    ]).toEqual(['allow', 'errno 1', 'allow']);
    expect([0n, 8n, 1n].map((value) => answer(filter, 'personality', value))).toEqual(['allow', 'allow', 'errno 1']);
  });

  it('compares 64 bits, and says so for 32-bit arguments', () => {
    const { filter, losses } = load({
      ...errnoDefault,
      syscalls: [{ names: ['socket'], action: 'SCMP_ACT_ALLOW', args: [{ index: 0, value: 40, op: 'SCMP_CMP_NE' }] }],
    });
    expect([answer(filter, 'socket', 40n), answer(filter, 'socket', 0x1_0000_0028n)]).toEqual(['errno 1', 'allow']);
    expect(losses).toEqual([expect.stringContaining('1 comparisons look at all 64 bits')]);
  });

  it('resolves what depends on architecture and capabilities', () => {
    const source = {
      ...errnoDefault,
      archMap: [{ architecture: 'SCMP_ARCH_X86_64', subArchitectures: ['SCMP_ARCH_X86', 'SCMP_ARCH_X32'] }],
      syscalls: [
        { names: ['arch_prctl'], action: 'SCMP_ACT_ALLOW', includes: { arches: ['amd64', 'x32'] } },
        { names: ['bpf'], action: 'SCMP_ACT_ALLOW', includes: { caps: ['CAP_SYS_ADMIN'] } },
        { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: 38, excludes: { caps: ['CAP_SYS_ADMIN'] } },
        { names: ['ptrace'], action: 'SCMP_ACT_ALLOW', includes: { minKernel: '4.8' } },
      ],
    };
    const plain = load(source);
    expect(['arch_prctl', 'bpf', 'clone3', 'ptrace'].map((call) => answer(plain.filter, call))).toEqual([
      'allow',
      'errno 1',
      'errno 38',
      'allow',
    ]);
    expect(plain.losses.join('\n')).toMatch(/SCMP_ARCH_X86, SCMP_ARCH_X32[\s\S]*4\.8/);
    const admin = load(source, { capabilities: ['CAP_SYS_ADMIN'] });
    expect(['bpf', 'clone3'].map((call) => answer(admin.filter, call))).toEqual(['allow', 'errno 1']);
    expect(answer(load(source, { arch: 'aarch64' }).filter, 'ptrace')).toBe('allow');
    expect(load(source, { arch: 'aarch64' }).filter.syscalls.map(({ name }) => name)).not.toContain('arch_prctl');
  });

  it('reports what it cannot say, on the strict side', () => {
    const { filter, losses } = load({
      ...errnoDefault,
      flags: ['SECCOMP_FILTER_FLAG_LOG'],
      listenerPath: '/run/x',
      syscalls: [
        { names: ['chown32', 'raed'], action: 'SCMP_ACT_ALLOW' },
        { names: ['getpid'], action: 'SCMP_ACT_ALLOW', args: [{ index: 0, value: 1, op: 'SCMP_CMP_EQ' }] },
        { names: ['read'], action: 'SCMP_ACT_ALLOW', args: [{ index: 0, value: 1, op: 'SCMP_CMP_LIKE' }] },
        { names: ['write'], action: 'SCMP_ACT_SOMETHING' },
        { names: ['close'], action: 'SCMP_ACT_ERRNO', errnoRet: 4000 },
        { names: ['futex', 'connect'], action: 'SCMP_ACT_NOTIFY' },
        {
          names: ['dup'],
          action: 'SCMP_ACT_ALLOW',
          args: [{ index: 0, value: 4, valueTwo: 3, op: 'SCMP_CMP_MASKED_EQ' }],
        },
      ],
    });
    expect(['getpid', 'read', 'write', 'close', 'futex', 'connect', 'dup'].map((call) => answer(filter, call))).toEqual(
      ['errno 1', 'errno 1', 'errno 1', 'errno 1', 'errno 1', 'broker', 'allow'],
    );
    for (const word of [
      'chown32, raed',
      'FLAG_LOG',
      'listenerPath',
      'getpid',
      'SCMP_CMP_LIKE',
      'SCMP_ACT_SOMETHING',
      '4000',
      'futex',
      'the value 3 of argument 0 has bits outside of the mask 4, which are ignored as libseccomp ignores them',
    ])
      expect(losses.join('\n')).toContain(word);
  });

  it('lets the stricter of two overlapping actions win, and says so', () => {
    const test = (op: string, value: number) => [{ index: 0, value, op }];
    const { filter, losses } = load({
      defaultAction: 'SCMP_ACT_KILL_PROCESS',
      syscalls: [
        { names: ['socket', 'dup'], action: 'SCMP_ACT_ALLOW' },
        { names: ['socket'], action: 'SCMP_ACT_ERRNO', args: test('SCMP_CMP_GT', 5) },
        { names: ['socket'], action: 'SCMP_ACT_TRAP', args: test('SCMP_CMP_GT', 9) },
        { names: ['dup'], action: 'SCMP_ACT_ERRNO' },
      ],
    });
    expect([5n, 6n, 10n].map((value) => answer(filter, 'socket', value))).toEqual(['allow', 'errno 1', 'trap']);
    expect(answer(filter, 'dup')).toBe('errno 1');
    expect(losses).toEqual(
      expect.arrayContaining([
        expect.stringContaining('socket has entries'),
        expect.stringContaining('dup has entries'),
      ]),
    );
  });

  it('keeps a default that allows', () => {
    const { filter } = load({
      defaultAction: 'SCMP_ACT_ALLOW',
      syscalls: [{ names: ['ptrace'], action: 'SCMP_ACT_ERRNO' }],
    });
    expect([answer(filter, 'openat'), answer(filter, 'ptrace')]).toEqual(['allow', 'errno 1']);
    expect(filter.unknown).toEqual({ kind: 'allow' });
  });

  it.each([
    ['{', 'seccomp.json'],
    ['{}', 'defaultAction'],
    ['{\n"defaultAction": 1}', 'seccomp.json:2: defaultAction'],
    [
      '{\n"defaultAction": "SCMP_ACT_ERRNO",\n"syscalls": [\n{ "names": 1, "action": "SCMP_ACT_ALLOW" }]}',
      'seccomp.json:4: syscalls.0.names',
    ],
    ['[1]', 'seccomp.json'],
  ])('refuses %s', (text, says) => {
    expect(() => importOci(text, { file: 'seccomp.json', arch: 'x86_64' })).toThrowError(
      expect.objectContaining({ code: 'PROFILE_INVALID', message: expect.stringContaining(says) }),
    );
  });

  it('means what the source means, on random entries of one action', () => {
    const value = fc.oneof(
      fc.bigInt(0n, 8n),
      fc.constantFrom(0x7fff_ffffn, 0x8000_0000n, 0xffff_ffffn, 0x1_0000_0001n, 0xffff_ffff_ffff_ffffn),
    );
    const op = fc.constantFrom('EQ', 'NE', 'LT', 'LE', 'GT', 'GE', 'MASKED_EQ');
    const arg = fc.record({ index: fc.integer({ min: 0, max: 2 }), value, valueTwo: value, op });
    const entries = fc.array(fc.uniqueArray(arg, { selector: ({ index }) => index, maxLength: 3 }), {
      minLength: 1,
      maxLength: 4,
    });
    fc.assert(
      fc.property(entries, fc.array(fc.tuple(value, value, value), { minLength: 5, maxLength: 20 }), (list, probes) => {
        const { filter } = load({
          ...errnoDefault,
          syscalls: list.map((args) => ({
            names: ['mmap'],
            action: 'SCMP_ACT_ALLOW',
            args: args.map((each) => ({ ...each, op: `SCMP_CMP_${each.op}` })),
          })),
        });
        for (const probe of probes) {
          const wanted = list.some((args) =>
            args.every((each) => holds(each.op, probe[each.index] ?? 0n, each.value, each.valueTwo)),
          );
          expect(answer(filter, 'mmap', ...probe)).toBe(wanted ? 'allow' : 'errno 1');
        }
      }),
      { numRuns: 150 },
    );
  });
});

function holds(op: string, register: bigint, value: bigint, valueTwo: bigint): boolean {
  switch (op) {
    case 'EQ':
      return register === value;
    case 'NE':
      return register !== value;
    case 'LT':
      return register < value;
    case 'LE':
      return register <= value;
    case 'GT':
      return register > value;
    case 'GE':
      return register >= value;
    default:
      return (register & value) === (valueTwo & value);
  }
}
