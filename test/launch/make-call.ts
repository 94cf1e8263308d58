// SPDX-License-Identifier: Apache-2.0
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { promisify } from 'node:util';
import { syscallNumber } from '../../core/tables/index.ts';
import { packagePath } from '../../native/package-path.ts';

let program: string | undefined;

/** Has a thread of another process make a system call, as code that took the thread over would. What the kernel returned: negative for an errno. */
export async function makeCall(
  { pid, tid }: { readonly pid: number; readonly tid: number },
  syscall: string,
  args: readonly (number | string)[],
): Promise<number> {
  program ??= build();
  const nr = syscallNumber('x86_64', syscall);
  const values = args.map((value) => (typeof value === 'string' ? `=${value}` : String(value)));
  const { stdout } = await promisify(execFile)(program, [pid, tid, nr, ...values].map(String));
  return Number(stdout);
}

/** With the injection engine as the addon has it. */
function build(): string {
  const built = packagePath('build/test/make-call');
  const objects = packagePath('build/Release/obj.target/ratchet/native/sys');
  mkdirSync(packagePath('build/test'), { recursive: true });
  const engine = readdirSync(packagePath('native/sys'))
    .filter((file) => /^(tighten.*|processes)\.cc$/.test(file))
    .map((file) => `${objects}/${file.replace(/cc$/, 'o')}`);
  const flags = ['-std=c++20', '-D_GNU_SOURCE', '-pthread', `-I${packagePath('native')}`, '-o', built];
  execFileSync('g++', [...flags, packagePath('test/native/programs/make-call.cc'), ...engine], { stdio: 'inherit' });
  return built;
}
