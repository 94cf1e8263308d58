// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileFilter } from '../../core/compiler/index.ts';
import { importProgram } from '../../core/formats/import/program.ts';
import { parseProfile } from '../../core/policy/index.ts';
import type { Arch, FilterPolicy } from '../../core/policy/types.ts';
import { loadProfile } from '../../core/profile-files.ts';
import { encodeProgram, opcode, returnValue } from '../../core/simulator/index.ts';
import { diffPrograms } from '../../core/verifier/index.ts';
import { arbitraryPolicy } from '../compiler/arbitrary-policy.ts';

function load(text: string, arch: Arch): FilterPolicy {
  const filter = parseProfile(text, { file: 'imported.yaml', arch, include: () => ({ text: '', file: '' }) }).stages[0]
    ?.filter;
  if (filter === undefined) throw new Error('no stage');
  return filter;
}

const { loadAbsolute, jumpEqual, jumpGreater, returnConstant } = opcode;

/** `nr == 39 (getpid) ? value when the word at `offset` is above 5 : ALLOW`, everything else EPERM, foreign calls killed. */
function getpidProgram(offset: number, value: number): Uint8Array {
  return encodeProgram([
    { code: loadAbsolute, jt: 0, jf: 0, k: 4 },
    { code: jumpEqual, jt: 1, jf: 0, k: 0xc000003e },
    { code: returnConstant, jt: 0, jf: 0, k: returnValue.killProcess },
    { code: loadAbsolute, jt: 0, jf: 0, k: 0 },
    { code: jumpEqual, jt: 0, jf: 3, k: 39 },
    { code: loadAbsolute, jt: 0, jf: 0, k: offset },
    { code: jumpGreater, jt: 0, jf: 2, k: 5 },
    { code: returnConstant, jt: 0, jf: 0, k: value },
    { code: returnConstant, jt: 0, jf: 0, k: returnValue.errno | 1 },
    { code: returnConstant, jt: 0, jf: 0, k: returnValue.allow },
  ]);
}

describe('a program read back as a profile', () => {
  test.each<Arch>(['x86_64', 'aarch64', 'riscv64'])('is the shipped profile again, for %s', (arch) => {
    for (const { filter } of loadProfile('qemu', { arch }).stages.slice(1, 2)) {
      const { program } = compileFilter(filter);
      const { profileText, losses } = importProgram(program, { file: 'qemu.bpf', arch });
      expect(losses).toEqual([]);
      expect(diffPrograms(program, load(profileText, arch), arch)).toEqual([]);
    }
  });

  test('names what the arguments are compared with', () => {
    const running = loadProfile('qemu', { arch: 'x86_64' }).stages[1];
    const { program } = compileFilter((running as NonNullable<typeof running>).filter);
    const { profileText } = importProgram(program, { file: 'qemu.bpf', arch: 'x86_64' });
    expect(profileText.replace(/\s+/g, ' ')).toContain(
      'domain == AF_NETLINK and (type & ~(SOCK_NONBLOCK|SOCK_CLOEXEC)) == SOCK_RAW',
    );
    expect(profileText).toContain('u32(prot) lacks PROT_EXEC');
    expect(profileText).toContain('KVM_RUN');
  });

  test('decides as any policy does, or says what it takes stricter', () => {
    fc.assert(
      fc.property(arbitraryPolicy, (policy) => {
        const { program } = compileFilter(policy);
        const { profileText, losses } = importProgram(program, { file: 'random.bpf', arch: policy.arch });
        const differences = diffPrograms(program, load(profileText, policy.arch), policy.arch);
        if (losses.length === 0) expect(differences).toEqual([]);
        expect(differences.filter(({ looserInSecond }) => looserInSecond)).toEqual([]);
      }),
      { numRuns: 25 },
    );
  });

  test.each([
    ['an errno without a name', getpidProgram(16, returnValue.errno | 4000), 'errno 4000 has no name'],
    ['the instruction pointer', getpidProgram(8, returnValue.errno | 1), 'instruction pointer'],
    [
      'an argument that the call does not have',
      getpidProgram(16, returnValue.killProcess),
      'getpid depends on what a profile cannot test',
    ],
  ])('is told as lossy, and is not looser, where it asks for %s', (_, program, says) => {
    const { profileText, losses } = importProgram(program, { file: 'odd.bpf', arch: 'x86_64' });
    expect(losses.join('\n')).toContain(says);
    const differences = diffPrograms(program, load(profileText, 'x86_64'), 'x86_64');
    expect(differences.filter(({ looserInSecond }) => looserInSecond)).toEqual([]);
  });

  test('is refused where the kernel would refuse the program', () => {
    const open = encodeProgram([{ code: loadAbsolute, jt: 0, jf: 0, k: 0 }]);
    expect(() => importProgram(open, { file: 'open.bpf', arch: 'x86_64' })).toThrowError(
      expect.objectContaining({ code: 'ARGUMENT_INVALID' }),
    );
  });
});
