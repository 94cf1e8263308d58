// SPDX-License-Identifier: Apache-2.0
// The VMM of examples/tiny-vmm, on real KVM: a program that asks for its stages itself.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packagePath } from '../../native/package-path.ts';
import { ratchet } from '../cli/ratchet.ts';

let folder: string;
let program: string;
let file: string;
const profile = 'examples/tiny-vmm/tiny-vmm.yaml';

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ratchet-tiny-'));
  program = join(folder, 'tiny-vmm');
  file = join(folder, 'file');
  writeFileSync(file, 'from a file\n');
  const source = packagePath('examples/tiny-vmm/tiny-vmm.c');
  execFileSync('cc', [
    '-O2',
    '-Wall',
    '-Wextra',
    '-Wpedantic',
    '-Werror',
    '-I',
    packagePath('native/client'),
    '-o',
    program,
    source,
  ]);
});

afterAll(() => rmSync(folder, { recursive: true }));

function run(options: readonly string[], ...args: readonly string[]) {
  return ratchet('run', '--profile', profile, ...options, '--', program, ...args);
}

describe('a VMM that tightens itself before its first KVM_RUN', () => {
  it('runs its guest', () => {
    expect(run([], 'hello, guest')).toEqual({ status: 0, stdout: 'hello, guest', stderr: '' });
  });

  it('gets afterwards what the broker grants', () => {
    expect(run(['--allow', `open=${file}:ro`], 'and\n', file)).toEqual({
      status: 0,
      stdout: 'and\nfrom a file\n',
      stderr: '',
    });
  });

  it('and nothing else', () => {
    const { status, stdout, stderr } = run([], '', file);
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toMatch(/^ratchet: refused: openat\(.*\) = -EACCES in thread tiny-vmm/m);
  });

  it('does not go on without ratchet', () => {
    expect(() => execFileSync(program, ['x'], { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' })).toThrow(
      'Transport endpoint is not connected',
    );
  });

  it('does not go on when the stage is not there', () => {
    const twoStages = join(folder, 'one-stage.yaml');
    writeFileSync(
      twoStages,
      `version: 1
name: one-stage
vmm: program
include: [groups/start, groups/process, groups/devices]
stages:
  start:
    syscalls:
      - use: [no-programs, one-exec, dynamic-linking, threads, memory, random, kvm-machine, kvm-vcpu]
      - { allow: [read, write, pread64, sendto, recvmsg], why: libraries and the channel, risk: none }
`,
    );
    const { status, stdout, stderr } = ratchet('run', '--profile', twoStages, '--', program, 'x');
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toContain('STAGE_UNKNOWN');
  });
});

describe('the header', () => {
  it('is C++ too', () => {
    const source = join(folder, 'use.cc');
    writeFileSync(
      source,
      '#include "ratchet.h"\nint main() { return ratchet_stage("x") + ratchet_connect("x") + ratchet_bind("x", 1) + ratchet_open("x", "ro") == -4 ? 0 : 1; }\n',
    );
    execFileSync('g++', [
      '-Wall',
      '-Wextra',
      '-Werror',
      '-I',
      packagePath('native/client'),
      '-o',
      join(folder, 'use'),
      source,
    ]);
    execFileSync(join(folder, 'use'), [], { env: {} });
  });
});
