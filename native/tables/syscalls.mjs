// SPDX-License-Identifier: Apache-2.0
// System call numbers from asm/unistd.h.

import { macrosOf } from './architectures.mjs';
import { newerSyscalls, newerSyscallsOf } from './newer.mjs';

/**
 * Name to number, in order of the numbers.
 * @param {import('./architectures.mjs').Arch} arch
 * @returns {ReadonlyMap<string, number>}
 */
export function syscallNumbers(arch) {
  const macros = macrosOf(arch, ['asm/unistd.h']);
  const numbers = new Map(Object.entries({ ...newerSyscalls, ...newerSyscallsOf[arch] }));
  for (const [name, body] of macros) {
    const call = /^__NR_([a-z]\w*|_sysctl)$/.exec(name)?.[1];
    // `__NR_syscalls` is a count, `__NR_arch_specific_syscall` a base, and names with a `3264` are stems that other macros point to.
    if (call === undefined || call === 'syscalls' || call === 'arch_specific_syscall' || call.startsWith('3264'))
      continue;
    const number = evaluate(body, macros);
    if (number !== undefined) numbers.set(call, number);
  }
  return new Map([...numbers].sort(([, a], [, b]) => a - b));
}

/**
 * A number, another macro, or `(macro + number)`.
 * @param {string} body
 * @param {ReadonlyMap<string, string>} macros
 * @returns {number | undefined}
 */
function evaluate(body, macros) {
  if (/^\d+$/.test(body)) return Number(body);
  const sum = /^\((\w+) ?\+ ?(\d+)\)$/.exec(body);
  const base = macros.get(sum?.[1] ?? body);
  if (base === undefined) return undefined;
  const value = evaluate(base, macros);
  return value === undefined ? undefined : value + Number(sum?.[2] ?? 0);
}
