// SPDX-License-Identifier: Apache-2.0
import { type ProgramRequest, runProgram } from '../control/run-program.ts';
import { shellStatus } from '../launch/exit-status.ts';

/** Runs a program of a sandbox on this command's own streams. @returns its status as a shell has it. */
export async function execProgram(path: string, request: ProgramRequest): Promise<number> {
  const status = await runProgram(path, request, {
    // Read only when somebody wants it: a terminal must not be waited for.
    ...(request.input === undefined ? { input: process.stdin } : {}),
    onOutput: (bytes) => new Promise((resolve) => process.stdout.write(bytes, () => resolve())),
  });
  return shellStatus(status);
}
