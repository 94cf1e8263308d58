// SPDX-License-Identifier: Apache-2.0
// The numbers of system calls, as a table that others made has them: libseccomp's, through the resolver of Debian's package `seccomp`.

import { execFileSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import type { Arch } from '../../core/policy/types.ts';
import { archNames, lastKnownNr, syscallName, syscallNames, syscallNumber } from '../../core/tables/index.ts';

/** Calls that libseccomp 2.5.4 does not know and whose numbers are below the first that it cannot know. */
const unknownThere: Readonly<Record<Arch, readonly string[]>> = {
  x86_64: ['uretprobe', 'uprobe'],
  aarch64: [],
  riscv64: ['riscv_hwprobe'],
};

/** statmount of Linux 6.8, and all that came later. */
const firstTooNew = 457;

describe.each(archNames)("libseccomp's resolver for %s", (arch) => {
  test('has the same number for each name', () => {
    const names = syscallNames(arch);
    const answers = resolve(arch, names).map(Number);
    const differing = names.flatMap((name, index) => {
      const ours = syscallNumber(arch, name) as number;
      const theirs = answers[index] as number;
      if (theirs === -1 && (ours >= firstTooNew || unknownThere[arch].includes(name))) return [];
      return ours === theirs ? [] : [{ name, ours, theirs }];
    });
    expect(differing).toEqual([]);
    expect(answers.filter((nr) => nr >= 0).length).toBeGreaterThan(300);
  });

  test('has the same name for each number', () => {
    const numbers = Array.from({ length: lastKnownNr(arch) + 1 }, (_, nr) => nr);
    const answers = resolve(arch, numbers.map(String));
    const differing = numbers.flatMap((nr) => {
      const ours = syscallName(arch, nr);
      const theirs = answers[nr];
      return theirs === 'UNKNOWN' || theirs === ours ? [] : [{ nr, ours, theirs }];
    });
    expect(differing).toEqual([]);
  });
});

/** Numbers to names and back, a line each; -1 and UNKNOWN for what it does not know. */
function resolve(arch: Arch, questions: readonly string[]): readonly string[] {
  const script = 'while read -r question; do scmp_sys_resolver -a "$1" "$question"; done';
  const input = `${questions.join('\n')}\n`;
  const answers = execFileSync('sh', ['-c', script, 'resolve', arch], { input, encoding: 'utf8' }).trim().split('\n');
  expect(answers.length).toBe(questions.length);
  return answers;
}
