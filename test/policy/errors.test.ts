// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { RatchetError } from '../../core/errors.ts';
import type { ProblemCode } from '../../core/policy/index.ts';
import { ProfileError, parseProfile, problemCodes } from '../../core/policy/index.ts';

const head = 'version: 1\nname: t\nvmm: t\n';

/** One stage whose rules start on line 6. */
function stage(rules: string): string {
  return `${head}stages:\n  start: { syscalls: [] }\n`.replace(
    '{ syscalls: [] }',
    `\n    syscalls:\n${rules.replace(/^/gm, '      ')}`,
  );
}

function problemsOf(text: string, features: readonly string[] = [], files: Readonly<Record<string, string>> = {}) {
  try {
    parseProfile(text, {
      file: 'p.yaml',
      arch: 'x86_64',
      features,
      include: (name) => {
        const found = files[name];
        if (found === undefined) throw new RatchetError('PROFILE_NOT_FOUND', `there is no ${name}.yaml`);
        return { text: found, file: `${name}.yaml` };
      },
    });
  } catch (error) {
    if (!(error instanceof ProfileError)) throw error;
    expect(error.code).toBe('PROFILE_INVALID');
    return error.problems.map(({ file, line, column, code, message }) => ({
      at: `${file}:${line}:${column}`,
      code,
      message,
    }));
  }
  return [];
}

interface Case {
  readonly name: string;
  readonly text: string;
  readonly at: string;
  readonly code: ProblemCode;
  readonly says: string | RegExp;
}

const cases: readonly Case[] = [
  { name: 'text that is no YAML', text: 'version: [1', at: 'p.yaml:1:12', code: 'syntax', says: /flow/i },
  {
    name: 'a key given twice',
    text: `${head}name: u\nstages: {}`,
    at: 'p.yaml:4:1',
    code: 'duplicate',
    says: 'the key "name" is already at p.yaml:2:1',
  },
  {
    name: 'a group that is named without quotes',
    text: `${head}stages:\n  s:\n    syscalls:\n      - { allow: [@files], why: w }`,
    at: 'p.yaml:7:19',
    code: 'syntax',
    says: `a value cannot begin with "@": put it in quotes, as in '@files'`,
  },
  {
    name: 'a colon in a text without quotes',
    text: `${head}stages:\n  s: { }\nnames:\n  why: reads: files`,
    at: 'p.yaml:7:13',
    code: 'syntax',
    says: 'needs quotes',
  },
  {
    name: 'two documents',
    text: `${head}stages: { s: {} }\n---\nversion: 1`,
    at: 'p.yaml:6:1',
    code: 'syntax',
    says: 'a second document begins here',
  },
  {
    name: 'an alias without an anchor',
    text: `${head}stages: { s: *other }`,
    at: 'p.yaml:4:15',
    code: 'syntax',
    says: 'unidentified alias "other"',
  },
  {
    name: 'a tag of another program',
    text: `${head}stages: !!python/object {}`,
    at: 'p.yaml:4:9',
    code: 'syntax',
    says: 'tag',
  },
  {
    name: 'an unknown key',
    text: `${head}stagse: {}\nstages: {}`,
    at: 'p.yaml:4:1',
    code: 'unknown-key',
    says: 'did you mean "stages"',
  },
  {
    name: 'an unknown key in a rule',
    text: stage('- alow: [read]\n  why: w'),
    at: 'p.yaml:7:9',
    code: 'unknown-key',
    says: 'did you mean "allow"',
  },
  {
    name: 'a missing key',
    text: 'version: 1\nvmm: t\nstages: {}',
    at: 'p.yaml:1:1',
    code: 'missing-key',
    says: '"name" is missing',
  },
  {
    name: 'a wrong type',
    text: stage('- allow: read\n  why: w'),
    at: 'p.yaml:7:16',
    code: 'wrong-type',
    says: '"allow" must be a list',
  },
  {
    name: 'a wrong version',
    text: `version: 2\nname: t\nvmm: t\nstages: {}`,
    at: 'p.yaml:1:10',
    code: 'wrong-value',
    says: 'must be 1, not "2"',
  },
  { name: 'no stages', text: `${head}stages: {}`, at: 'p.yaml:4:9', code: 'missing-key', says: 'at least one stage' },
  {
    name: 'a stage name that is a number',
    text: `${head}stages: { 1: {} }`,
    at: 'p.yaml:4:11',
    code: 'wrong-value',
    says: 'no good name',
  },
  {
    name: 'a rule without an action',
    text: stage('- why: w'),
    at: 'p.yaml:7:9',
    code: 'missing-key',
    says: 'exactly one of',
  },
  {
    name: 'a rule with two actions',
    text: stage('- allow: [read]\n  log: [write]\n  why: w'),
    at: 'p.yaml:7:9',
    code: 'wrong-value',
    says: 'allow and log',
  },
  { name: 'a rule without why', text: stage('- allow: [read]'), at: 'p.yaml:7:9', code: 'missing-key', says: '"why"' },
  {
    name: 'a refusal without errno',
    text: stage('- refuse: [read]\n  why: w'),
    at: 'p.yaml:7:9',
    code: 'missing-key',
    says: '"errno"',
  },
  {
    name: 'an unknown errno',
    text: stage('- refuse: [read]\n  errno: EPREM\n  why: w'),
    at: 'p.yaml:8:16',
    code: 'unknown-errno',
    says: 'did you mean "EPERM"',
  },
  {
    name: 'errno beside allow',
    text: stage('- allow: [read]\n  errno: EPERM\n  why: w'),
    at: 'p.yaml:8:9',
    code: 'wrong-value',
    says: 'belongs to refuse',
  },
  {
    name: 'an unknown call',
    text: stage('- allow: [raed]\n  why: w'),
    at: 'p.yaml:7:17',
    code: 'unknown-syscall',
    says: 'did you mean "read"',
  },
  {
    name: "another architecture's call",
    text: stage('- allow: [riscv_flush_icache]\n  why: w'),
    at: 'p.yaml:7:17',
    code: 'other-architecture',
    says: 'on: [riscv64]',
  },
  {
    name: 'an unknown list',
    text: stage('- allow: ["@files"]\n  why: w'),
    at: 'p.yaml:7:17',
    code: 'unknown-group',
    says: '"@files"',
  },
  {
    name: 'an unknown group',
    text: stage('- use: [files]'),
    at: 'p.yaml:7:15',
    code: 'unknown-group',
    says: '"files"',
  },
  {
    name: 'an unknown argument',
    text: stage('- allow: [socket]\n  when: domian == AF_UNIX\n  why: w'),
    at: 'p.yaml:8:15',
    code: 'unknown-argument',
    says: 'did you mean "domain"',
  },
  {
    name: 'an unknown constant',
    text: stage('- allow: [socket]\n  when: domain == AF_UNXI\n  why: w'),
    at: 'p.yaml:8:25',
    code: 'unknown-constant',
    says: 'did you mean "AF_UNIX"',
  },
  {
    name: 'an unknown constant in a folded text',
    text: stage('- allow: [socket]\n  when: >-\n    domain == AF_INET\n    or domain == AF_UNXI\n  why: w'),
    at: 'p.yaml:10:24',
    code: 'unknown-constant',
    says: 'AF_UNIX',
  },
  {
    name: 'an unknown constant in quotes',
    text: stage('- allow: [socket]\n  when: "domain == AF_UNXI"\n  why: w'),
    at: 'p.yaml:8:26',
    code: 'unknown-constant',
    says: 'AF_UNIX',
  },
  {
    name: 'a value that does not fit',
    text: stage('- allow: [socket]\n  when: domain == 0x100000000\n  why: w'),
    at: 'p.yaml:8:25',
    code: 'out-of-range',
    says: '32 bits',
  },
  {
    name: 'C operators',
    text: stage('- allow: [socket]\n  when: domain == 1 && type == 1\n  why: w'),
    at: 'p.yaml:8:27',
    code: 'expression',
    says: 'write "and"',
  },
  {
    name: 'a condition that cannot hold',
    text: stage('- allow: [socket]\n  when: domain == 1 and domain == 2\n  why: w'),
    at: 'p.yaml:8:15',
    code: 'never-true',
    says: 'never hold',
  },
  {
    name: 'a condition that always holds',
    text: stage('- allow: [ptrace]\n  when: request >= 0\n  why: w'),
    at: 'p.yaml:8:15',
    code: 'never-true',
    says: 'all arguments',
  },
  {
    name: 'a contradiction',
    text: stage(
      '- allow: [socket]\n  when: domain == AF_UNIX\n  why: w\n- refuse: [socket]\n  errno: EACCES\n  when: type == SOCK_RAW\n  why: w',
    ),
    at: 'p.yaml:10:9',
    code: 'contradiction',
    says: 'p.yaml:7:9',
  },
  {
    name: 'an unconditional rule against a conditional one',
    text: stage(
      '- allow: [socket]\n  when: domain == AF_UNIX\n  why: w\n- refuse: [socket]\n  errno: EACCES\n  why: w',
    ),
    at: 'p.yaml:10:9',
    code: 'contradiction',
    says: 'otherwise',
  },
  {
    name: 'a dangerous call without a condition',
    text: stage('- allow: [ptrace]\n  why: w'),
    at: 'p.yaml:7:17',
    code: 'dangerous',
    says: '"risk"',
  },
  {
    name: 'a dangerous call as the otherwise',
    text: stage('- allow: [ptrace]\n  when: otherwise\n  why: w'),
    at: 'p.yaml:7:17',
    code: 'dangerous',
    says: '"risk"',
  },
  {
    name: 'a default that allows',
    text: `${head}stages:\n  start:\n    default: allow`,
    at: 'p.yaml:6:14',
    code: 'dangerous',
    says: '"risk"',
  },
  {
    name: 'an unknown default',
    text: `${head}stages:\n  start:\n    default: kill`,
    at: 'p.yaml:6:14',
    code: 'wrong-value',
    says: 'kill-process',
  },
  {
    name: 'a brokered futex',
    text: stage('- broker: [futex]\n  why: w'),
    at: 'p.yaml:7:18',
    code: 'not-brokerable',
    says: 'never be brokered',
  },
  {
    name: 'a reason that nobody has written yet',
    text: stage('- allow: [read]\n  why: "TODO: who makes this call"'),
    at: 'p.yaml:8:14',
    code: 'unreviewed',
    says: 'still to be written',
  },
  {
    name: 'a stage from nowhere',
    text: `${head}stages:\n  start: {}\n  running: { from: stort }`,
    at: 'p.yaml:6:20',
    code: 'unknown-stage',
    says: 'did you mean "start"',
  },
  {
    name: 'removing what is not there',
    text: `${head}stages:\n  start: {}\n  running: { from: start, remove: [read] }`,
    at: 'p.yaml:6:36',
    code: 'wrong-value',
    says: 'no rule to remove',
  },
  {
    name: 'a bad address',
    text: `${head}stages:\n  start:\n    broker:\n      connect:\n        - grant: ["tpc:127.0.0.1:80"]\n          why: w`,
    at: 'p.yaml:8:19',
    code: 'address',
    says: 'tpc',
  },
  {
    name: 'a bad path',
    text: `${head}stages:\n  start:\n    broker:\n      open:\n        - grant: [etc/hosts]\n          why: w`,
    at: 'p.yaml:8:19',
    code: 'address',
    says: 'etc/hosts',
  },
  {
    name: 'a missing include',
    text: `${head}include: [groups/none]\nstages: { start: {} }`,
    at: 'p.yaml:4:11',
    code: 'include-failed',
    says: 'groups/none',
  },
  {
    name: 'a feature for no stage',
    text: `${head}stages: { start: {} }\nfeatures: { f: { why: w, stages: { strat: {} } } }`,
    at: 'p.yaml:5:36',
    code: 'unknown-stage',
    says: 'did you mean "start"',
  },
  {
    name: 'use beside an errno',
    text: `${head}groups: { g: [] }\n${stage('- use: [g]\n  errno: EPERM').slice(head.length)}`,
    at: 'p.yaml:9:9',
    code: 'wrong-value',
    says: 'cannot stand beside',
  },
  {
    name: 'a group that uses itself',
    text: `${head}groups: { a: [{ use: [b] }], b: [{ use: [a] }] }\nstages: { start: {} }`,
    at: 'p.yaml:4:42',
    code: 'unknown-group',
    says: 'a -> b -> a',
  },
  {
    name: 'a list that contains itself',
    text: `${head}names: { a: ["@a"] }\n${stage('- allow: ["@a"]\n  why: w').slice(head.length)}`,
    at: 'p.yaml:4:14',
    code: 'unknown-group',
    says: 'contains itself',
  },
  {
    name: 'a group among names',
    text: `${head}groups: { g: [] }\n${stage('- allow: ["@g"]\n  why: w').slice(head.length)}`,
    at: 'p.yaml:8:17',
    code: 'unknown-group',
    says: 'use: [g]',
  },
  {
    name: 'a mistake in a group that nobody uses',
    text: `${head}groups: { g: [{ allow: [raed], why: w }] }\nstages: { start: {} }`,
    at: 'p.yaml:4:25',
    code: 'unknown-syscall',
    says: 'read',
  },
  {
    name: 'a mistake in a rule for another architecture',
    text: stage('- allow: [opne]\n  on: [aarch64]\n  why: w'),
    at: 'p.yaml:7:17',
    code: 'unknown-syscall',
    says: 'open',
  },
  {
    name: 'an unknown architecture',
    text: stage('- allow: [read]\n  on: [x86-64]\n  why: w'),
    at: 'p.yaml:8:14',
    code: 'wrong-value',
    says: 'x86_64',
  },
  {
    name: 'an empty why',
    text: stage('- allow: [read]\n  why: ""'),
    at: 'p.yaml:8:14',
    code: 'wrong-value',
    says: 'must not be empty',
  },
  {
    name: 'keep without from',
    text: `${head}stages:\n  start:\n    keep: [read]`,
    at: 'p.yaml:6:5',
    code: 'wrong-value',
    says: 'needs "from"',
  },
  {
    name: 'same without from',
    text: `${head}stages:\n  start:\n    broker: { same: true }`,
    at: 'p.yaml:6:15',
    code: 'wrong-value',
    says: 'needs "from"',
  },
  {
    name: 'two different otherwise',
    text: stage(
      '- refuse: [dup]\n  errno: EPERM\n  when: otherwise\n  why: w\n- refuse: [dup]\n  errno: EACCES\n  when: otherwise\n  why: w',
    ),
    at: 'p.yaml:11:9',
    code: 'contradiction',
    says: 'p.yaml:7:9',
  },
  {
    name: 'a role that lets more through',
    text: `${head}stages:\n  start:\n    roles: { vcpu: { why: w, default: allow } }`,
    at: 'p.yaml:6:39',
    code: 'dangerous',
    says: 'only be tighter',
  },
  {
    name: 'a broker row that says nothing',
    text: `${head}stages:\n  start:\n    broker: { open: [{ why: w }] }`,
    at: 'p.yaml:6:22',
    code: 'missing-key',
    says: 'exactly one of',
  },
  {
    name: 'a broker refusal without errno',
    text: `${head}stages:\n  start:\n    broker: { open: [{ refuse: [/a], why: w }] }`,
    at: 'p.yaml:6:22',
    code: 'missing-key',
    says: 'belong together',
  },
  {
    name: 'a bad interface name',
    text: `${head}stages:\n  start:\n    broker: { tap: [{ grant: ["a b"], why: w }] }`,
    at: 'p.yaml:6:31',
    code: 'address',
    says: 'network interface',
  },
  {
    name: 'a program that is not defined',
    text: `${head}programs: { pack: { path: /bin/gzip, why: w } }\nstages:\n  start:\n    broker: { exec: [{ grant: [pakc], why: w }] }`,
    at: 'p.yaml:7:32',
    code: 'unknown-program',
    says: '"pack"',
  },
  {
    name: 'a program with a relative path',
    text: `${head}programs: { pack: { path: gzip, why: w } }\nstages: { start: {} }`,
    at: 'p.yaml:4:13',
    code: 'wrong-value',
    says: 'no absolute path',
  },
];

describe('a faulty profile', () => {
  it.each(cases)('is refused with the place: $name', ({ text, at, code, says }) => {
    const problems = problemsOf(text);
    const found = problems.find((problem) => problem.code === code && problem.at === at);
    expect(found, JSON.stringify(problems, undefined, 1)).toBeDefined();
    expect(found?.message).toMatch(
      says instanceof RegExp ? says : new RegExp(says.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')),
    );
  });

  it('is refused with the place in an included file', () => {
    const files = {
      lib: 'version: 1\ngroups:\n  g:\n    - allow: [raed]\n      why: w\n',
      twice: 'version: 1\ngroups: { g: [] }\n',
      bad: 'version: 1\nstages: {}',
    };
    const text = (include: string) => `${head}include: ${include}\nstages: { start: {} }`;
    expect(problemsOf(text('[lib]'), [], files)).toMatchObject([{ at: 'lib.yaml:4:15', code: 'unknown-syscall' }]);
    expect(problemsOf(text('[bad]'), [], files)).toMatchObject([{ at: 'bad.yaml:2:1', code: 'unknown-key' }]);
    expect(problemsOf(text('[twice, lib]'), [], files)).toContainEqual(
      expect.objectContaining({ code: 'duplicate', message: expect.stringContaining('already defined at') }),
    );
  });

  it('is refused when a feature is chosen that it does not have', () => {
    const text = `${head}stages: { start: {} }\nfeatures: { vnc: { why: w, stages: {} } }`;
    expect(problemsOf(text, ['vcn'])).toMatchObject([
      { at: 'p.yaml:1:1', code: 'unknown-feature', message: expect.stringContaining('"vnc"') },
    ]);
    expect(problemsOf(text, ['vnc'])).toEqual([]);
  });

  it('has each kind of problem among these cases', () => {
    const shown = new Set<ProblemCode>([...cases.map(({ code }) => code), 'unknown-feature']);
    expect(problemCodes.filter((code) => !shown.has(code))).toEqual([]);
  });

  it('shows all problems at once, in order', () => {
    const problems = problemsOf(stage('- allow: [raed, wirte]\n  why: w\n- refuse: [open]\n  errno: EPREM\n  why: w'));
    expect(problems.map(({ at }) => at)).toEqual(['p.yaml:7:17', 'p.yaml:7:23', 'p.yaml:10:16']);
  });
});
