// SPDX-License-Identifier: Apache-2.0
// What `seccomp-tools dump` and `seccomp-tools disasm` print: a table whose first columns are the instruction, and whose last is for people.
//
//  line  CODE  JT   JF      K
// =================================
//  0000: 0x20 0x00 0x00 0x00000004  A = arch

import { ProblemList } from '../../policy/problem.ts';
import { encodeProgram, type Instruction } from '../../simulator/instruction.ts';

const row =
  /^\s*(?<line>\d+):\s+0x(?<code>[0-9a-f]+)\s+0x(?<jt>[0-9a-f]+)\s+0x(?<jf>[0-9a-f]+)\s+0x(?<k>[0-9a-f]+)(?:\s|$)/i;

/** The program of a listing. Throws PROFILE_INVALID with the lines that are none of one. */
export function parseSeccompTools(text: string, file: string): Uint8Array {
  const problems = new ProblemList();
  const instructions: Instruction[] = [];
  const lines = text.split('\n');
  for (const [index, line] of lines.entries()) {
    const at = { file, line: index + 1, column: 1 };
    if (/^\s*(#.*|=+|line\s+CODE\s+JT\s+JF\s+K)?\s*$/.test(line)) continue;
    const groups = row.exec(line)?.groups;
    if (groups === undefined) {
      problems.add(
        at,
        'syntax',
        `"${line.trim()}" is no row of a listing such as " 0000: 0x20 0x00 0x00 0x00000004  A = arch"`,
      );
      continue;
    }
    const number = (key: 'code' | 'jt' | 'jf' | 'k'): number => Number.parseInt(groups[key] ?? '', 16);
    const instruction = { code: number('code'), jt: number('jt'), jf: number('jf'), k: number('k') };
    if (Number(groups['line']) !== instructions.length)
      problems.add(at, 'wrong-value', `row ${groups['line']} stands where row ${instructions.length} should`);
    if (instruction.code > 0xffff || instruction.jt > 0xff || instruction.jf > 0xff || instruction.k > 0xffff_ffff)
      problems.add(at, 'out-of-range', 'a column does not fit struct sock_filter (16, 8, 8 and 32 bits)');
    instructions.push(instruction);
  }
  if (instructions.length === 0 && problems.count === 0)
    problems.add({ file, line: 1, column: 1 }, 'syntax', 'there is no instruction in this listing');
  problems.throwIfAny();
  return encodeProgram(instructions);
}
