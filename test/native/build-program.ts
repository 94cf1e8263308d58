// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { mkdirSync, renameSync, statSync } from 'node:fs';
import { packagePath } from '../../native/package-path.ts';

/** Compiles `FOLDER/NAME.c` into `build/test/NAME` unless that is newer, and gives its path. */
export function buildProgram(name: string, folder = 'test/native/programs'): string {
  const source = packagePath(`${folder}/${name}.c`);
  const program = packagePath(`build/test/${name}`);
  const builtMs = statSync(program, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (builtMs > statSync(source).mtimeMs) return program;
  mkdirSync(packagePath('build/test'), { recursive: true });
  const unfinished = `${program}.${process.pid}`;
  const flags = ['-O2', '-Wall', '-Wextra', '-Werror', '-D_GNU_SOURCE', '-pthread'];
  execFileSync('cc', [...flags, '-o', unfinished, source], { stdio: ['ignore', 'inherit', 'inherit'] });
  renameSync(unfinished, program);
  return program;
}
