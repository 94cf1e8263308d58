// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, statSync } from 'node:fs';
import { packagePath } from '../../native/package-path.ts';

/** Compiles `FOLDER/NAME.c`, or the C files in the folder `FOLDER/NAME`, into `build/FOLDER/NAME` unless that is newer, and gives its path. */
export function buildProgram(name: string, folder = 'test/native/programs'): string {
  const whole = packagePath(`${folder}/${name}`);
  const files = existsSync(whole) ? readdirSync(whole).map((file) => `${whole}/${file}`) : [`${whole}.c`];
  const program = packagePath(`build/${folder}/${name}`);
  const builtMs = statSync(program, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (files.every((file) => builtMs > statSync(file).mtimeMs)) return program;
  mkdirSync(packagePath(`build/${folder}`), { recursive: true });
  const unfinished = `${program}.${process.pid}`;
  const flags = ['-O2', '-Wall', '-Wextra', '-Werror', '-D_GNU_SOURCE', '-pthread'];
  execFileSync('cc', [...flags, '-o', unfinished, ...files.filter((file) => file.endsWith('.c'))], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  renameSync(unfinished, program);
  return program;
}
