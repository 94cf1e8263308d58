// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { parseSeccompTools } from '../../core/formats/import/seccomp-tools.ts';
import { decodeProgram, disassemble } from '../../core/simulator/index.ts';

// As in the README of seccomp-tools.
const listing = ` line  CODE  JT   JF      K
=================================
 0000: 0x20 0x00 0x00 0x00000004  A = arch
 0001: 0x15 0x01 0x00 0xc000003e  if (A == ARCH_X86_64) goto 0003
 0002: 0x06 0x00 0x00 0x00000000  return KILL
 0003: 0x20 0x00 0x00 0x00000000  A = sys_number
 0004: 0x15 0x00 0x01 0x0000003b  if (A != execve) goto 0006
 0005: 0x06 0x00 0x00 0x00050001  return ERRNO(1)
 0006: 0x06 0x00 0x00 0x7fff0000  return ALLOW
`;

describe('a listing of seccomp-tools', () => {
  test('is the program that it lists', () => {
    const program = parseSeccompTools(listing, 'listing');
    expect(decodeProgram(program)).toHaveLength(7);
    expect(disassemble(program, 'x86_64')[4]).toContain('59 (execve)');
  });

  test.each([
    [
      'a line that is none of a listing',
      listing.replace('A = arch', 'A = arch\n 0001 what'),
      'listing:4:1: "0001 what" is no row',
    ],
    ['a missing row', listing.replace(/ 0002.*\n/, ''), 'listing:5:1: row 0003 stands where row 2 should'],
    ['a jump that does not fit', listing.replace('0x15 0x01', '0x15 0x101'), 'listing:4:1: a column does not fit'],
    ['nothing in it', 'line  CODE  JT   JF      K\n', 'no instruction'],
  ])('is refused with %s, by file and line', (_, text, says) => {
    expect(() => parseSeccompTools(text, 'listing')).toThrowError(
      expect.objectContaining({ code: 'PROFILE_INVALID', message: expect.stringContaining(says) }),
    );
  });
});
