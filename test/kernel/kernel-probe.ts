// SPDX-License-Identifier: Apache-2.0
// Asks the running kernel what a filter answers to calls, without executing any of them.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SyscallCall } from '../../core/policy/types.ts';
import { decodeProgram, encodeProgram, opcode, returnValue } from '../../core/simulator/index.ts';
import { packagePath } from '../../native/package-path.ts';

/** The first of the errnos that stand for a program's returned values; the kernel itself has none this high. */
const firstMarker = 3000;

export class KernelProbe implements Disposable {
  private readonly folder = mkdtempSync(join(tmpdir(), 'ratchet-probe-'));
  private readonly binary = join(this.folder, 'probe');

  constructor() {
    execFileSync('cc', ['-O2', '-Wall', '-Werror', '-o', this.binary, packagePath('test/kernel/probe.c')]);
  }

  /** The value that the kernel would take from the program for each call. The calls' architecture is that of this machine. */
  ask(program: Uint8Array, calls: readonly SyscallCall[]): number[] {
    const values: number[] = [];
    const marked = decodeProgram(program).map((instruction) => {
      if (instruction.code !== opcode.returnConstant) return instruction;
      const known = values.indexOf(instruction.k);
      const index = known >= 0 ? known : values.push(instruction.k) - 1;
      return { ...instruction, k: returnValue.errno | (firstMarker + index) };
    });
    const file = (name: string): string => join(this.folder, name);
    writeFileSync(file('filter'), encodeProgram(marked));
    writeFileSync(file('calls'), new BigUint64Array(calls.flatMap(({ nr, args }) => [BigInt(nr), ...args])));
    execFileSync(this.binary, [file('filter'), file('calls'), file('results')], { timeout: 20_000 });
    const results = readFileSync(file('results'));
    return calls.map((call, index) => {
      const value = values[-Number(results.readBigInt64LE(index * 8)) - firstMarker];
      if (value === undefined)
        throw new Error(
          `call ${call.nr} was answered with ${results.readBigInt64LE(index * 8)}, which no return of the program stands for`,
        );
      return value;
    });
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true });
  }
}
