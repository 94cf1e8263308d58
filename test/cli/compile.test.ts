// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { afterAll, describe, expect, test } from 'vitest';
import { evaluate } from '../../core/policy/index.ts';
import type { Arch, FilterPolicy, SyscallCall } from '../../core/policy/types.ts';
import { hostArch, loadProfile } from '../../core/profile-files.ts';
import { auditArch, decodeProgram, encodeAction, run } from '../../core/simulator/index.ts';
import { syscallNumber } from '../../core/tables/index.ts';
import { verifyFilter } from '../../core/verifier/index.ts';
import { KernelProbe, seenByFilters } from '../kernel/kernel-probe.ts';
import { dockerProfile, Folder, smallProfile } from './fixtures.ts';
import { ratchet } from './ratchet.ts';

const folder = new Folder();
afterAll(() => folder[Symbol.dispose]());
const small = folder.write('small.yaml', smallProfile);

function compile(...args: readonly string[]): Buffer {
  const output = folder.file('program');
  const { status, stdout, stderr } = ratchet('compile', ...args, '-o', output);
  expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: '', stderr: '' });
  return readFileSync(output);
}

function filterOf(name: string, stage: string, arch: Arch): FilterPolicy {
  const found = loadProfile(name, { arch }).stages.find((one) => one.name === stage);
  if (found === undefined) throw new Error(`no stage ${stage}`);
  return found.filter;
}

function callOf(arch: Arch, name: string, ...args: readonly bigint[]): SyscallCall {
  const at = (index: number): bigint => args[index] ?? 0n;
  return {
    nr: syscallNumber(arch, name) ?? -1,
    auditArch: auditArch[arch],
    args: [at(0), at(1), at(2), at(3), at(4), at(5)],
  };
}

describe('ratchet compile', () => {
  test.each<Arch>(['x86_64', 'aarch64', 'riscv64'])('writes for %s a program that is the policy', (arch) => {
    for (const stage of ['start', 'running', 'sealed']) {
      const program = compile('qemu', '--arch', arch, '--stage', stage);
      expect(program.length % 8).toBe(0);
      verifyFilter(program, filterOf('qemu', stage, arch));
    }
  });

  test('writes what the simulator and the kernel take', () => {
    const arch = hostArch();
    const program = compile(small, '--stage', 'start', '--format', 'raw');
    const policy = filterOf(small, 'start', arch);
    const calls = [
      callOf(arch, 'read'),
      callOf(arch, 'openat'),
      callOf(arch, 'connect'),
      callOf(arch, 'dup'),
      ...[0n, 1n, 2n, 3n].map((domain) => callOf(arch, 'socket', domain, 1n)),
      callOf(arch, 'socket', 1n, 2n),
    ].filter(({ nr }) => seenByFilters(arch, nr));
    const expected = calls.map((call) => encodeAction(evaluate(policy, call).action));
    expect(calls.map((call) => run(program, call).rawAction)).toEqual(expected);
    const probe = new KernelProbe();
    try {
      expect(probe.ask(program, calls)).toEqual(expected);
    } finally {
      probe[Symbol.dispose]();
    }
  });

  test('writes the same bytes every time, to a file or to standard output', () => {
    const args = ['qemu', '--stage', 'running'];
    const program = compile(...args);
    expect(compile(...args)).toEqual(program);
    const command = ['dist/core/cli/main.js', 'compile', ...args, '--output', '-'];
    expect(execFileSync(process.execPath, command)).toEqual(program);
  });

  test('writes C that a compiler makes the same program of', () => {
    const program = compile(small, '--stage', 'start');
    const rows = compile(small, '--stage', 'start', '--format', 'c').toString();
    const source = folder.write(
      'program.c',
      `#include <linux/filter.h>\n#include <stdio.h>\nstatic const struct sock_filter program[] = {\n${rows}};\nint main(void) { return fwrite(program, sizeof program, 1, stdout) != 1; }\n`,
    );
    execFileSync('cc', ['-Wall', '-Werror', '-o', folder.file('program-c'), source]);
    expect(execFileSync(folder.file('program-c'))).toEqual(program);
  });

  test('writes the same instructions as JSON', () => {
    const json = JSON.parse(compile(small, '--stage', 'start', '--format', 'json').toString()) as unknown;
    expect(json).toEqual(decodeProgram(compile(small, '--stage', 'start')));
  });

  test('lists the program with names, and lists raw programs again', () => {
    const listing = compile(small, '--stage', 'start', '--format', 'asm').toString();
    const program = folder.file('small.bpf');
    ratchet('compile', small, '--stage', 'start', '-o', program);
    expect(listing.trimEnd().split('\n').length).toBeGreaterThanOrEqual(readFileSync(program).length / 8);
    expect(listing).toMatch(/socket|connect|openat/);
    expect(listing).toContain('ALLOW');
    expect(compile(program, '--format', 'asm').toString()).toBe(listing);
  });

  test('takes the seccomp JSON of a container, and says what is lost', () => {
    const file = folder.write('docker.json', dockerProfile);
    const output = folder.file('docker.bpf');
    const { status, stdout, stderr } = ratchet('compile', file, '--arch', 'x86_64', '--format', 'raw', '-o', output);
    expect({ status, stdout }).toEqual({ status: 0, stdout: '' });
    expect(stderr).toContain('no_such_call');
    const answer = (name: string, ...args: readonly bigint[]): unknown =>
      run(readFileSync(output), callOf('x86_64', name, ...args)).action;
    expect(answer('read')).toEqual({ kind: 'allow' });
    expect(answer('personality', 8n)).toEqual({ kind: 'allow' });
    expect(answer('personality', 9n)).toMatchObject({ kind: 'errno', errno: 1 });
    expect(answer('mount')).toMatchObject({ kind: 'errno', errno: 1 });
  });

  test.each([
    ['a format that there is not', [small, '--stage', 'start', '--format', 'elf', '-o', '-'], 'raw, asm, c or json'],
    ['no output', [small, '--stage', 'start'], '--output'],
    ['a stage that there is not', [small, '--stage', 'strat', '-o', '-'], 'start, running'],
    ['no stage where there are several', [small, '-o', '-'], 'start, running'],
    ['a role that there is not', [small, '--stage', 'start', '--role', 'io', '-o', '-'], 'role io'],
    ['a profile that is not there', [folder.file('none.yaml'), '-o', '-'], 'ENOENT'],
    ['an output that cannot be written', [small, '--stage', 'start', '-o', folder.file('none/program')], 'ENOENT'],
    ['an unknown option', [small, '--stage', 'start', '-o', '-', '-O3'], '-O3'],
  ])('is misuse with %s', (_, args, hint) => {
    expect(ratchet('compile', ...args)).toMatchObject({ status: 2, stdout: '', stderr: expect.stringContaining(hint) });
  });
});
