// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { packagePath } from '../../../native/package-path.ts';

/** Assembles counter.S into a folder; returns the image for `-bios`. */
export function buildCounterGuest(folder: string): string {
  const object = join(folder, 'counter.o');
  const image = join(folder, 'counter.rom');
  execFileSync('as', ['--32', '-o', object, packagePath('test/matrix/guest/counter.S')]);
  execFileSync('ld', ['-m', 'elf_i386', '-Ttext=0', '--entry=0', '--oformat=binary', '-o', image, object]);
  return image;
}
