// SPDX-License-Identifier: Apache-2.0
import { afterAll, describe, expect, test } from 'vitest';
import { dockerProfile, Folder, smallProfile } from './fixtures.ts';
import { ratchet } from './ratchet.ts';

const folder = new Folder();
afterAll(() => folder[Symbol.dispose]());
const docker = folder.write('docker.json', dockerProfile);

describe('ratchet import', () => {
  test('prints a profile that checks, and what is lost on standard error', () => {
    const { status, stdout, stderr } = ratchet('import', '--from', 'docker', '--arch', 'x86_64', docker);
    expect(status).toBe(0);
    expect(stderr).toMatch(/^ratchet: .*docker\.json: .*no_such_call/m);
    expect(stdout).not.toContain('no_such_call');
    const imported = folder.write('imported.yaml', stdout);
    expect(ratchet('check', '--arch', 'x86_64', imported)).toMatchObject({ status: 0, stderr: '' });
    expect(ratchet('diff', '--arch', 'x86_64', imported, docker).status).toBe(0);
  });

  test('takes entries that depend on capabilities when these are named', () => {
    const summary = (...options: readonly string[]): unknown => {
      const imported = folder.write('capable.yaml', ratchet('import', '--from', 'docker', ...options, docker).stdout);
      return JSON.parse(ratchet('explain', imported, '--json', 'mount').stdout);
    };
    expect(summary()).toMatchObject({ action: 'errno', errno: 'EPERM' });
    expect(summary('--capability', 'CAP_SYS_ADMIN')).toMatchObject({ action: 'allow' });
  });

  test('gives the reason of each rule its place in the source', () => {
    const imported = folder.write('placed.yaml', ratchet('import', '--from', 'oci', docker).stdout);
    expect(JSON.parse(ratchet('explain', imported, '--json', 'personality', 'arg0=8').stdout)).toMatchObject({
      action: 'allow',
      rule: { why: `from ${docker}:1, entry 2` },
    });
  });

  test('reads a program back, and the listing of seccomp-tools', () => {
    const program = folder.file('start.bpf');
    const small = folder.write('source.yaml', smallProfile);
    ratchet('compile', small, '--arch', 'x86_64', '--stage', 'start', '-o', program);
    const rows = (
      JSON.parse(ratchet('compile', program, '--arch', 'x86_64', '--format', 'json', '-o', '-').stdout) as {
        code: number;
        jt: number;
        jf: number;
        k: number;
      }[]
    ).map(
      ({ code, jt, jf, k }, line) =>
        ` ${String(line).padStart(4, '0')}: ${[code, jt, jf].map((value) => `0x${value.toString(16).padStart(2, '0')}`).join(' ')} 0x${k.toString(16).padStart(8, '0')}  text`,
    );
    const listing = folder.write('listing', [' line  CODE  JT   JF      K', '='.repeat(33), ...rows, ''].join('\n'));
    for (const [format, file] of [
      ['raw', program],
      ['seccomp-tools', listing],
    ] as const) {
      const { status, stdout, stderr } = ratchet('import', '--arch', 'x86_64', '--from', format, file);
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      const imported = folder.write('again.yaml', stdout);
      expect(ratchet('diff', '--arch', 'x86_64', imported, `${small}:start`).status).toBe(0);
    }
  });

  test.each([
    ['a format that there is not', ['--from', 'kafel', docker], 'oci'],
    ['no format', [docker], '--from'],
    ['a file that is not there', ['--from', 'oci', folder.file('none.json')], 'ENOENT'],
    ['a file of another kind', ['--from', 'oci', folder.write('small.yaml', smallProfile)], 'defaultAction'],
    ['an architecture that there is not', ['--from', 'oci', '--arch', 'arm', docker], 'aarch64'],
    ['an unknown option', ['--from', 'oci', '--lossless', docker], '--lossless'],
  ])('is misuse with %s', (_, args, hint) => {
    expect(ratchet('import', ...args)).toMatchObject({ status: 2, stdout: '', stderr: expect.stringContaining(hint) });
  });
});
