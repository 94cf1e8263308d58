// SPDX-License-Identifier: Apache-2.0
// Reads what `strace -f` writes: one call a line. With `-e raw=all` every argument is a number; otherwise numbers and constants are read, and what
// strace shows of memory is unknown. Pure; the lines come from the caller.

import type { RecordedCall } from '../compiler/count-calls.ts';
import type { Arch } from '../policy/types.ts';
import { constantValue } from '../tables/index.ts';

export interface TracedCall extends RecordedCall {
  /** The thread that made it, when the trace says so. */
  readonly tid: number | undefined;
  /** Seconds since 1970, when the trace says so (strace -ttt). */
  readonly at: number | undefined;
}

const call = /^(?:\[pid\s+)?(?<tid>\d+)?\]?\s*(?:(?:(?<at>\d+\.\d+)|[\d:.]+)\s+)?(?<name>[a-z_][a-z0-9_]*)\(/;

/**
 * The call that a line tells of; undefined for its resumption, signals and exits. A call that was interrupted by another thread's is on two
 * lines, and its arguments are all on the first. Constants are read by the tables of `arch`.
 */
export function parseStraceLine(line: string, arch: Arch = 'x86_64'): TracedCall | undefined {
  const found = call.exec(line);
  const { tid, at, name } = found?.groups ?? {};
  if (found === null || name === undefined) return undefined;
  const args = argumentTexts(line.slice(found[0].length)).map((text) => registerOf(text, arch));
  const number = (text: string | undefined): number | undefined => (text === undefined ? undefined : Number(text));
  return { tid: number(tid), at: number(at), name: currentName(name), args };
}

/** What stands between the commas of the call itself, not those in structures, lists and strings. */
function argumentTexts(text: string): readonly string[] {
  const found: string[] = [];
  let depth = 0;
  let quoted = false;
  let start = 0;
  for (let index = 0; index < text.length; index++) {
    const character = text[index] ?? '';
    if (quoted) {
      if (character === '\\') index++;
      else if (character === '"') quoted = false;
    } else if (character === '"') quoted = true;
    else if ('([{'.includes(character)) depth++;
    else if (character === ',' && depth === 0) {
      found.push(text.slice(start, index));
      start = index + 1;
    } else if (')]}'.includes(character) && --depth < 0) {
      return lastOf(text.slice(start, index));
    } else if (character === '<' && text.startsWith('<unfinished', index)) {
      return lastOf(text.slice(start, index));
    }
  }
  return lastOf(text.slice(start));

  function lastOf(rest: string): readonly string[] {
    return rest.trim() === '' ? found : [...found, rest];
  }
}

/** A register's value, or undefined for what is not a number. */
function registerOf(text: string, arch: Arch): bigint | undefined {
  const plain = text
    .replace(/\/\*.*?\*\//g, '')
    .replace(/<[^>]*>/g, '')
    .trim();
  let value = 0n;
  for (const part of plain.split('|')) {
    const one = numberOf(part.trim()) ?? constantValue(arch, part.trim());
    if (one === undefined) return undefined;
    value |= BigInt.asUintN(64, one);
  }
  return value;
}

function numberOf(text: string): bigint | undefined {
  if (text === 'NULL') return 0n;
  if (/^0[0-7]+$/.test(text)) return BigInt(`0o${text.slice(1)}`);
  return /^(0x[0-9a-f]+|\d+)$/.test(text) ? BigInt(text) : /^-\d+$/.test(text) ? -BigInt(text.slice(1)) : undefined;
}

/** strace keeps some names that the kernel's table has changed. */
function currentName(name: string): string {
  return name === 'pread' ? 'pread64' : name === 'pwrite' ? 'pwrite64' : name;
}
