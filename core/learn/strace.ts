// SPDX-License-Identifier: Apache-2.0
// Reads what `strace -f -e raw=all` writes: one call a line, every argument a number. Pure; the lines come from the caller.

import type { RecordedCall } from '../compiler/count-calls.ts';

export interface TracedCall extends RecordedCall {
  /** The thread that made it, when the trace says so. */
  readonly tid: number | undefined;
}

const call = /^(?:\[pid\s+)?(?<tid>\d+)?\]?\s*(?:\d+\.\d+\s+)?(?<name>[a-z_][a-z0-9_]*)\((?<args>[^)<]*)/;

/**
 * The call that a line tells of; undefined for its resumption, signals and exits. A call that was interrupted by another thread's is on two
 * lines, and its arguments are all on the first.
 */
export function parseStraceLine(line: string): TracedCall | undefined {
  const groups = call.exec(line)?.groups;
  const { tid, name, args = '' } = groups ?? {};
  if (name === undefined) return undefined;
  const words = args.split(',').map((word) => word.trim());
  const numbers = words.filter((word) => /^(0x[0-9a-f]+|\d+)$/.test(word)).map(BigInt);
  return { tid: tid === undefined ? undefined : Number(tid), name: currentName(name), args: numbers };
}

/** strace keeps some names that the kernel's table has changed. */
function currentName(name: string): string {
  return name === 'pread' ? 'pread64' : name === 'pwrite' ? 'pwrite64' : name;
}
