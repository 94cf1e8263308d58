// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { importFirecracker } from '../../core/formats/import/firecracker.ts';
import { evaluate, parseProfile } from '../../core/policy/index.ts';
import type { FilterPolicy, ResolvedStage } from '../../core/policy/types.ts';
import { auditArchOf, syscallNumber } from '../../core/tables/index.ts';
import { proveTightening } from '../../core/verifier/index.ts';

function load(source: object | string): { stage: ResolvedStage; losses: readonly string[] } {
  const text = typeof source === 'string' ? source : JSON.stringify(source, undefined, 1);
  const { profileText, losses } = importFirecracker(text, { file: 'fc.json', arch: 'x86_64' });
  const profile = parseProfile(profileText, {
    file: 'fc.yaml',
    arch: 'x86_64',
    include: () => ({ text: '', file: '' }),
  });
  expect(proveTightening(profile)).toEqual([]);
  return { stage: profile.stages[0] as ResolvedStage, losses };
}

function answer(filter: FilterPolicy | undefined, call: string, ...args: readonly bigint[]): string {
  if (filter === undefined) throw new Error('no such role');
  const at = (index: number): bigint => args[index] ?? 0n;
  const { action } = evaluate(filter, {
    nr: syscallNumber(filter.arch, call) ?? -1,
    auditArch: auditArchOf(filter.arch),
    args: [at(0), at(1), at(2), at(3), at(4), at(5)],
  });
  return action.kind === 'errno' ? `errno ${action.errno}` : action.kind;
}

const kvmRun = { index: 1, type: 'dword', op: 'eq', val: 44672, comment: 'KVM_RUN' };
const vcpu = {
  default_action: 'trap',
  filter_action: 'allow',
  filter: [{ syscall: 'read' }, { syscall: 'ioctl', args: [kvmRun] }],
};
const vmm = {
  default_action: 'trap',
  filter_action: 'allow',
  filter: [
    { syscall: 'read', comment: 'events' },
    { syscall: 'openat' },
    { syscall: 'madvise', args: [{ index: 2, type: 'dword', op: 'eq', val: 4 }] },
    { syscall: 'madvise', args: [{ index: 2, type: 'dword', op: 'eq', val: 8 }] },
    {
      syscall: 'mmap',
      args: [
        { index: 3, type: 'qword', op: { masked_eq: 3 }, val: 2 },
        { index: 1, type: 'qword', op: 'le', val: 4096 },
      ],
    },
  ],
};

describe('importing Firecracker filters', () => {
  test('makes roles of thread classes, and their union of the stage', () => {
    const { stage, losses } = load({ vmm, vcpu });
    const { filter, roles } = stage;
    expect(['openat', 'ioctl', 'mount'].map((call) => answer(roles['vmm'], call))).toEqual(['allow', 'trap', 'trap']);
    expect(['openat', 'ioctl'].map((call) => answer(roles['vcpu'], call, 3n, 44672n))).toEqual(['trap', 'allow']);
    expect(['openat', 'ioctl'].map((call) => answer(filter, call, 3n, 44672n))).toEqual(['allow', 'allow']);
    expect(answer(filter, 'ioctl', 3n, 1n)).toBe('trap');
    expect(losses).toEqual([expect.stringContaining('threads without a role may do what any class may')]);
  });

  test('ignores the high half for dword and not for qword, and joins the arguments of an entry', () => {
    const { roles } = load({ vmm, vcpu }).stage;
    expect(answer(roles['vcpu'], 'ioctl', 3n, 0x5_0000_ae80n)).toBe('allow');
    const mmap = (flags: bigint, length: bigint): string => answer(roles['vmm'], 'mmap', 0n, length, 3n, flags);
    expect([mmap(0x22n, 4096n), mmap(0x22n, 4097n), mmap(0x21n, 1n), mmap(0x1_0000_0022n, 1n)]).toEqual([
      'allow',
      'trap',
      'trap',
      'allow',
    ]);
    expect(answer(roles['vmm'], 'mmap', 0n, 0x1_0000_0001n, 3n, 0x22n)).toBe('trap');
    expect([4n, 8n, 9n].map((advice) => answer(roles['vmm'], 'madvise', 0n, 1n, advice))).toEqual([
      'allow',
      'allow',
      'trap',
    ]);
  });

  test('keeps comments and places', () => {
    const why = load({ vmm, vcpu }).stage.roles['vcpu']?.syscalls.find(({ name }) => name === 'ioctl')?.rules[0]?.why;
    expect(why).toMatch(/^KVM_RUN \(fc\.json:\d+\)$/);
  });

  test('takes the spelling of rust-vmm, and one class as the stage itself', () => {
    const { stage, losses } = load({
      main_thread: { mismatch_action: { errno: 13 }, match_action: 'log', filter: [{ syscall: 'read' }] },
    });
    expect(losses).toEqual([]);
    expect(Object.keys(stage.roles)).toEqual([]);
    expect([answer(stage.filter, 'read'), answer(stage.filter, 'write')]).toEqual(['log', 'errno 13']);
  });

  test('leaves threads without a role open where a class is a deny-list', () => {
    const denied = { default_action: 'allow', filter_action: 'trap', filter: [{ syscall: 'mount' }] };
    const { stage, losses } = load({ api: denied, vcpu });
    expect([answer(stage.roles['api'], 'mount'), answer(stage.roles['api'], 'read')]).toEqual(['trap', 'allow']);
    expect(answer(stage.roles['vcpu'], 'openat')).toBe('trap');
    expect(losses.join()).toContain('may do anything');
  });

  test('reports what it leaves out by file and line, on the strict side', () => {
    const filter = [
      { syscall: 'opneat' },
      { syscall: 'getpid', args: [{ index: 0, type: 'dword', op: 'eq', val: 1 }] },
    ];
    const { stage, losses } = load({ vmm: { ...vmm, filter } });
    expect(answer(stage.filter, 'getpid', 1n)).toBe('trap');
    expect(losses).toEqual([
      expect.stringMatching(/^fc\.json:\d+: opneat is no system call/),
      expect.stringMatching(/^fc\.json:\d+: getpid has no argument 0; left out/),
    ]);
  });

  test.each([
    [
      'an unknown key',
      '{"vmm": {"default_action": "trap", "filter_action": "allow", "filters": []}}',
      'fc.json:1:62: unknown key "filters"',
    ],
    ['no default', '{"vmm": {"filter_action": "allow", "filter": []}}', 'default_action or mismatch_action is missing'],
    [
      'both spellings',
      '{"vmm": {"default_action": "trap", "mismatch_action": "trap", "filter_action": "allow", "filter": []}}',
      'both spellings',
    ],
    [
      'an unknown action',
      '{"vmm": {"default_action": "explode", "filter_action": "allow", "filter": []}}',
      'fc.json:1:28',
    ],
    [
      'a wrong operator',
      '{"vmm":\n{"default_action": "trap", "filter_action": "allow", "filter": [\n{"syscall": "read", "args": [{"index": 0, "type": "dword", "op": "equals", "val": 1}]}]}}',
      'fc.json:3:',
    ],
    ['no class', '{}', 'no thread class'],
    ['no JSON', '{', 'fc.json:1'],
  ])('refuses %s', (_, text, says) => {
    expect(() => load(text)).toThrowError(
      expect.objectContaining({ code: 'PROFILE_INVALID', message: expect.stringContaining(says) }),
    );
  });
});
