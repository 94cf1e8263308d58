// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { RatchetError } from '../../core/errors.ts';
import { evaluate, parseProfile, summarizeFilter, withGrants } from '../../core/policy/index.ts';
import type { Arch, FilterPolicy, ResolvedProfile } from '../../core/policy/types.ts';
import { auditArchOf, syscallNumber } from '../../core/tables/index.ts';

const head = 'version: 1\nname: t\nvmm: t\n';

interface Options {
  readonly arch?: Arch;
  readonly features?: readonly string[];
  readonly files?: Readonly<Record<string, string>>;
}

function parse(text: string, { arch = 'x86_64', features = [], files = {} }: Options = {}): ResolvedProfile {
  return parseProfile(head + text, {
    file: 'p.yaml',
    arch,
    features,
    include: (name) => ({ text: files[name] ?? '', file: `${name}.yaml` }),
  });
}

function answer(profile: ResolvedProfile, stage: string | FilterPolicy, call: string, ...args: bigint[]): string {
  const filter = typeof stage === 'string' ? profile.stages.find(({ name }) => name === stage)?.filter : stage;
  if (filter === undefined) throw new Error(`no stage ${String(stage)}`);
  const at = (index: number): bigint => args[index] ?? 0n;
  const { action } = evaluate(filter, {
    nr: syscallNumber(filter.arch, call) ?? -1,
    auditArch: auditArchOf(filter.arch),
    args: [at(0), at(1), at(2), at(3), at(4), at(5)],
  });
  return action.kind === 'errno' ? `errno ${action.errno}` : action.kind;
}

describe('a profile', () => {
  it('allows nothing when it says nothing', () => {
    const profile = parse('stages: { start: {}, running: { syscalls: [] }, sealed: { from: running } }');
    for (const stage of ['start', 'running', 'sealed']) {
      for (const call of ['read', 'exit_group', 'execve']) expect(answer(profile, stage, call)).toBe('errno 1');
    }
    for (const { filter, broker } of profile.stages) {
      expect(summarizeFilter(filter)).toEqual({ allowed: 0, conditional: 0, brokered: 0, names: [] });
      expect(broker).toEqual([]);
      expect(filter.foreign).toEqual({ kind: 'kill-process' });
      expect(filter.unknown).toEqual({ kind: 'errno', errno: 38, quiet: true });
    }
  });

  it('can be JSON', () => {
    const object = {
      stages: { start: { syscalls: [{ allow: ['read'], why: 'w' }] } },
      version: 1,
      name: 'j',
      vmm: 'j',
    };
    const profile = parseProfile(JSON.stringify(object), {
      file: 'p.json',
      arch: 'x86_64',
      include: () => ({ text: '', file: '' }),
    });
    expect(answer(profile, 'start', 'read')).toBe('allow');
  });

  it('does every action', () => {
    const profile = parse(`stages:
  start:
    default: kill-thread
    syscalls:
      - { allow: [read], why: w }
      - { log: [write], why: w }
      - { trap: [close], why: w }
      - { trace: [dup], data: 7, why: w }
      - { broker: [connect], why: w }
      - { refuse: [bind], errno: EACCES, why: w }
      - { kill-thread: [listen], why: w }
      - { kill-process: [reboot], why: w }
`);
    const calls = ['read', 'write', 'close', 'dup', 'connect', 'bind', 'listen', 'reboot', 'openat'];
    expect(calls.map((call) => answer(profile, 'start', call))).toEqual([
      'allow',
      'log',
      'trap',
      'trace',
      'broker',
      'errno 13',
      'kill-thread',
      'kill-process',
      'kill-thread',
    ]);
    expect(profile.stages[0]?.filter.syscalls.find(({ name }) => name === 'dup')?.rules[0]?.action).toEqual({
      kind: 'trace',
      data: 7,
    });
  });

  it('means the same in any order', () => {
    const rules = [
      '- { allow: [socket], when: domain == AF_UNIX, why: a }',
      '- { refuse: [socket], errno: EACCES, when: domain == AF_INET, why: b }',
      '- { allow: [socket], when: domain == AF_INET6, why: c }',
      '- { refuse: [socket], errno: EAFNOSUPPORT, when: otherwise, why: d }',
    ];
    const answers = (order: readonly string[]) => {
      const profile = parse(`stages:\n  start:\n    syscalls:\n${order.map((rule) => `      ${rule}\n`).join('')}`);
      return [1n, 2n, 10n, 16n].map((domain) => answer(profile, 'start', 'socket', domain));
    };
    expect(answers(rules)).toEqual(['allow', 'errno 13', 'allow', 'errno 97']);
    expect(answers(rules.toReversed())).toEqual(answers(rules));
  });

  it('tells which rule decided, also when it was the otherwise', () => {
    const profile = parse(`stages:
  start:
    syscalls:
      - { allow: [socket], when: domain == AF_UNIX, why: local }
      - { refuse: [socket], errno: EACCES, when: otherwise, why: nothing else }
`);
    const filter = profile.stages[0]?.filter;
    if (filter === undefined) throw new Error('no stage');
    const ask = (domain: bigint) =>
      evaluate(filter, { nr: 41, auditArch: auditArchOf('x86_64'), args: [domain, 0n, 0n, 0n, 0n, 0n] });
    expect(ask(1n).rule).toMatchObject({
      why: 'local',
      whenText: 'domain == AF_UNIX',
      source: { file: 'p.yaml', line: 7, column: 9 },
    });
    expect(ask(2n)).toMatchObject({ rule: { why: 'nothing else', source: { line: 8 } }, syscall: { name: 'socket' } });
  });

  it('looks at the architecture of a call and at x32 before anything else', () => {
    const filter = parse('stages: { start: { syscalls: [{ allow: [read], why: w }] } }').stages[0]?.filter;
    if (filter === undefined) throw new Error('no stage');
    const ask = (nr: number, auditArch: number) =>
      evaluate(filter, { nr, auditArch, args: [0n, 0n, 0n, 0n, 0n, 0n] }).action.kind;
    expect(ask(0, 0xc000003e)).toBe('allow');
    expect(ask(0, 0xc000003e | 0)).toBe('allow');
    expect(ask(0, 0x40000003)).toBe('kill-process');
    expect(ask(0x4000_0000, 0xc000003e)).toBe('kill-process');
    expect(ask(-1, 0xc000003e)).toBe('kill-process');
    expect(ask(512, 0xc000003e)).toBe('errno');
  });

  it('takes over groups and lists, nested and included', () => {
    const files = {
      lib: 'version: 1\ninclude: [deeper]\nnames: { io: [read, "@out"], out: [write, read] }\ngroups: { all: [{ allow: ["@io"], why: io }, { use: [deep] }] }',
      deeper: 'version: 1\ninclude: [lib]\ngroups: { deep: [{ allow: [close], why: deep }] }',
    };
    const profile = parse('include: [lib, deeper]\nstages: { start: { syscalls: [{ use: ["@all"], why: w }] } }', {
      files,
    });
    expect(summarizeFilter(profile.stages[0]?.filter as FilterPolicy).names).toEqual(['close', 'read', 'write']);
    expect(profile.stages[0]?.filter.syscalls.find(({ name }) => name === 'close')?.rules[0]?.source.file).toBe(
      'deeper.yaml',
    );
  });

  it('may take a group over twice', () => {
    const profile = parse(
      'groups: { a: [{ allow: [read], why: w }] }\nstages: { start: { syscalls: [{ use: [a] }, { use: [a] }] } }',
    );
    expect(profile.stages[0]?.filter.syscalls[0]?.rules).toHaveLength(1);
  });

  it('keeps rules for other architectures to them', () => {
    const text =
      'stages: { start: { syscalls: [{ allow: [open], on: [x86_64], why: w }, { allow: [openat], on: [aarch64, riscv64], why: w }] } }';
    expect(answer(parse(text), 'start', 'open')).toBe('allow');
    expect(answer(parse(text), 'start', 'openat')).toBe('errno 1');
    expect(answer(parse(text, { arch: 'riscv64' }), 'start', 'openat')).toBe('allow');
  });

  it('builds stages on earlier ones: keep, remove, replace', () => {
    const profile = parse(`stages:
  start:
    default: errno EACCES
    syscalls:
      - { allow: [read, write, close, dup], why: w }
      - { allow: [socket], why: w }
    broker:
      connect: [{ grant: ['tcp:127.0.0.1:1'], why: w }]
  running:
    from: start
    remove: [dup]
    syscalls:
      - { allow: [socket], when: domain == AF_UNIX, why: w }
    broker: { same: true, bind: [{ grant: ['tcp:127.0.0.1:2'], why: w }] }
  sealed:
    from: running
    keep: [read, close]
    default: errno EPERM
`);
    const calls = ['read', 'write', 'close', 'dup', 'socket'];
    expect(calls.map((call) => answer(profile, 'running', call, 2n))).toEqual([
      'allow',
      'allow',
      'allow',
      'errno 13',
      'errno 13',
    ]);
    expect(answer(profile, 'running', 'socket', 1n)).toBe('allow');
    expect(calls.map((call) => answer(profile, 'sealed', call, 1n))).toEqual([
      'allow',
      'errno 1',
      'allow',
      'errno 1',
      'errno 1',
    ]);
    expect(profile.stages.map(({ broker }) => broker.map(({ target }) => target))).toEqual([
      ['tcp:127.0.0.1:1'],
      ['tcp:127.0.0.1:1', 'tcp:127.0.0.1:2'],
      [],
    ]);
    expect(profile.stages.map(({ epoch }) => epoch)).toEqual([0, 1, 2]);
  });

  it('has tighter filters for roles', () => {
    const profile = parse(`stages:
  start:
    syscalls: [{ allow: [read, write, socket], why: w }]
    roles:
      vcpu:
        why: runs guest code
        keep: [read, socket]
        syscalls: [{ allow: [socket], when: domain == AF_UNIX, why: w }]
`);
    const vcpu = profile.stages[0]?.roles.vcpu;
    if (vcpu === undefined) throw new Error('no role');
    expect([
      answer(profile, vcpu, 'read'),
      answer(profile, vcpu, 'write'),
      answer(profile, vcpu, 'socket', 2n),
      answer(profile, vcpu, 'socket', 1n),
    ]).toEqual(['allow', 'errno 1', 'errno 1', 'allow']);
  });

  it('adds what a chosen feature brings, to its stage and those built on it', () => {
    const text = `stages:
  start: { syscalls: [{ allow: [read], why: w }] }
  running: { from: start }
features:
  more:
    why: w
    stages:
      start:
        syscalls: [{ allow: [write], why: w }]
        broker: { open: [{ grant: ['/a:ro'], why: w }] }
`;
    expect(answer(parse(text), 'start', 'write')).toBe('errno 1');
    const chosen = parse(text, { features: ['more'] });
    expect([
      answer(chosen, 'start', 'read'),
      answer(chosen, 'start', 'write'),
      answer(chosen, 'running', 'write'),
    ]).toEqual(['allow', 'allow', 'allow']);
    expect(chosen.stages.map(({ broker }) => broker.length)).toEqual([1, 0]);
  });

  it('adds what a chosen feature brings to a role', () => {
    const text = `stages:
  start:
    syscalls: [{ allow: [read, write], why: w }]
    roles: { vcpu: { why: w, remove: [write] } }
features:
  more: { why: w, stages: { start: { roles: { vcpu: { syscalls: [{ allow: [write], why: w }] } } } } }
`;
    const roleOf = (profile: ResolvedProfile): FilterPolicy => profile.stages[0]?.roles.vcpu as FilterPolicy;
    const plain = parse(text);
    expect(answer(plain, roleOf(plain), 'write')).toBe('errno 1');
    const chosen = parse(text, { features: ['more'] });
    expect(answer(chosen, roleOf(chosen), 'write')).toBe('allow');
    expect(() => parse(text.replace('roles: { vcpu: { syscalls', 'roles: { vpcu: { syscalls'))).toThrow(
      /stage start has no role "vpcu".*vcpu/,
    );
  });

  it('lets a dangerous call through with a risk or a condition', () => {
    const profile = parse(
      'stages: { start: { syscalls: [{ allow: [ptrace], risk: r, why: w }, { allow: [bpf], when: cmd == 5, why: w }] } }',
    );
    expect(answer(profile, 'start', 'ptrace')).toBe('allow');
    expect(profile.stages[0]?.filter.syscalls.find(({ name }) => name === 'ptrace')?.rules[0]?.risk).toBe('r');
  });

  it('may let unlisted calls through where a risk says why', () => {
    const profile = parse(
      'stages: { start: { default: log, risk: r, syscalls: [{ refuse: [ptrace], errno: EPERM, why: w }] } }',
    );
    expect([answer(profile, 'start', 'openat'), answer(profile, 'start', 'ptrace')]).toEqual(['log', 'errno 1']);
    expect(summarizeFilter(profile.stages[0]?.filter as FilterPolicy).names).not.toContain('ptrace');
  });
});

describe('grants at launch', () => {
  const profile = parse('stages: { start: {}, running: {}, sealed: { grants: closed } }');
  const targets = (granted: ResolvedProfile) => granted.stages.map(({ broker }) => broker.map(({ target }) => target));

  it('hold in every stage that is not closed to them', () => {
    const granted = withGrants(profile, [
      { request: 'connect', target: 'tcp:192.0.2.1:4444' },
      { request: 'tap', target: 'rt%d', fromStage: 'running' },
    ]);
    expect(targets(granted)).toEqual([['tcp:192.0.2.1:4444'], ['tcp:192.0.2.1:4444', 'rt%d'], []]);
    expect(granted.stages[1]?.broker[0]).toMatchObject({
      source: { file: '--allow', line: 1 },
      refuseErrno: undefined,
    });
    expect(targets(profile)).toEqual([[], [], []]);
  });

  it.each([
    [{ request: 'connect', target: 'example.org:80' }, 'ADDRESS_INVALID'],
    [{ request: 'open', target: 'relative' }, 'ADDRESS_INVALID'],
    [{ request: 'tap', target: 'a name with blanks' }, 'ADDRESS_INVALID'],
    [{ request: 'tap', target: 'more-than-15-letters' }, 'ADDRESS_INVALID'],
    [{ request: 'open', target: '/a', fromStage: 'runing' }, 'STAGE_UNKNOWN'],
  ] as const)('are refused when they are wrong: %o', (grant, code) => {
    expect(() => withGrants(profile, [grant])).toThrowError(expect.objectContaining({ code }));
    expect(() => withGrants(profile, [grant])).toThrow(RatchetError);
  });
});
