// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { syscallNumber } from '../../core/tables/index.ts';
import { buildEngineProgram } from '../native/build-engine-program.ts';

let program: string | undefined;

/** Has a thread of another process make a system call, as code that took the thread over would. What the kernel returned: negative for an errno. */
export async function makeCall(
  { pid, tid }: { readonly pid: number; readonly tid: number },
  syscall: string,
  args: readonly (number | string)[],
): Promise<number> {
  program ??= buildEngineProgram('make-call');
  const nr = syscallNumber('x86_64', syscall);
  const values = args.map((value) => (typeof value === 'string' ? `=${value}` : String(value)));
  const { stdout } = await promisify(execFile)(program, [pid, tid, nr, ...values].map(String));
  return Number(stdout);
}
