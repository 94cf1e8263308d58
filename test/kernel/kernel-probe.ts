// SPDX-License-Identifier: Apache-2.0
// Asks the running kernel what a filter, or a chain of them, answers to calls, without executing any of them.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Arch, SyscallCall } from '../../core/policy/types.ts';
import {
  actionOnly,
  argumentOffset,
  decodeProgram,
  encodeProgram,
  type Instruction,
  numberOffset,
  opcode,
  returnValue,
} from '../../core/simulator/index.ts';
import { syscallNumber } from '../../core/tables/index.ts';
import { packagePath } from '../../native/package-path.ts';

/** The first of the errnos that stand for a program's returned values; the kernel itself has none this high. */
const firstMarker = 3000;

/** probe.c's `notified`, what a brokered call is answered with, and `install_mark`, by which it tells its own calls of seccomp(). */
const notified = 4094;
const installMark = 0x7261746d;

const enosys = 38;

/**
 * uretprobe and uprobe of x86_64: no filter sees them since Linux 6.14 and 6.18 (seccomp_uprobe_exception), and the kernel refuses them itself unless
 * they come from its own trampolines.
 */
export function seenByFilters(arch: Arch, nr: number): boolean {
  return arch !== 'x86_64' || (nr !== 335 && nr !== 336);
}

export class KernelProbe implements Disposable {
  private readonly folder = mkdtempSync(join(tmpdir(), 'ratchet-probe-'));
  private readonly binary = join(this.folder, 'probe');

  constructor() {
    const flags = ['-O2', '-Wall', '-Wextra', '-Werror', '-pthread'];
    execFileSync('cc', [...flags, '-o', this.binary, packagePath('test/kernel/probe.c')]);
  }

  /** The value that the kernel would take from the program for each call. The calls' architecture is that of this machine. */
  ask(program: Uint8Array, calls: readonly SyscallCall[]): number[] {
    const markers = new Markers();
    const marked = withReturns(program, (value) => (returnValue.errno | markers.of(value)) >>> 0);
    return this.#call([marked], calls).map((result) => markers.valueOf(-result));
  }

  /**
   * The value that wins when these programs are installed one on top of the other, oldest first. The kernel's own order of actions decides: each
   * action is replaced by one with the same place among them that makes no call. Only the first may ask a listener.
   */
  askChain(programs: readonly Uint8Array[], calls: readonly SyscallCall[], arch: Arch): number[] {
    const markers = new Markers();
    const marked = programs.map((program, index) => [
      ...installation(arch),
      ...withReturns(program, (value) => harmless(value, index, markers)),
    ]);
    return this.#call(marked, calls).map((result) => {
      if (result === -enosys) return returnValue.allow;
      return result === -notified ? returnValue.userNotification : markers.valueOf(-result);
    });
  }

  /** What the system call instruction returned for each call. */
  #call(programs: readonly (readonly Instruction[])[], calls: readonly SyscallCall[]): number[] {
    const file = (name: string): string => join(this.folder, name);
    const filters = programs.map((program, index) => {
      writeFileSync(file(`filter-${index}`), encodeProgram(program));
      return file(`filter-${index}`);
    });
    writeFileSync(file('calls'), new BigUint64Array(calls.flatMap(({ nr, args }) => [BigInt(nr), ...args])));
    execFileSync(this.binary, [file('calls'), file('results'), ...filters], { timeout: 50_000 });
    const results = readFileSync(file('results'));
    return calls.map((_, index) => Number(results.readBigInt64LE(index * 8)));
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true });
  }
}

/** Errnos that stand for returned values. */
class Markers {
  readonly #values: number[] = [];

  of(value: number): number {
    const known = this.#values.indexOf(value);
    return firstMarker + (known >= 0 ? known : this.#values.push(value) - 1);
  }

  valueOf(marker: number): number {
    const value = this.#values[marker - firstMarker];
    if (value === undefined) throw new Error(`a call was answered with ${-marker}, which no return stands for`);
    return value;
  }
}

function withReturns(program: Uint8Array, replace: (value: number) => number): Instruction[] {
  return decodeProgram(program).map((instruction) =>
    instruction.code === opcode.returnConstant ? { ...instruction, k: replace(instruction.k) } : instruction,
  );
}

function harmless(value: number, index: number, markers: Markers): number {
  switch (actionOnly(value)) {
    case returnValue.killProcess:
      return (returnValue.trap | markers.of(value)) >>> 0;
    case returnValue.errno:
      return (returnValue.errno | markers.of(value)) >>> 0;
    case returnValue.userNotification:
      if (index === 0) return value;
      break;
    case returnValue.allow:
      return returnValue.trace;
  }
  throw new Error(`filter ${index} of the chain returns 0x${value.toString(16)}, which the probe has no stand-in for`);
}

/** Lets probe.c install the next program, which the marked returns of this one would forbid. */
function installation(arch: Arch): Instruction[] {
  const load = (offset: number): Instruction => ({ code: opcode.loadAbsolute, jt: 0, jf: 0, k: offset });
  const unless = (value: number, skip: number): Instruction => ({ code: opcode.jumpEqual, jt: 0, jf: skip, k: value });
  return [
    load(numberOffset),
    unless(syscallNumber(arch, 'seccomp') ?? -1, 3),
    load(argumentOffset(5, 'low')),
    unless(installMark, 1),
    { code: opcode.returnConstant, jt: 0, jf: 0, k: returnValue.allow },
  ];
}
