// SPDX-License-Identifier: Apache-2.0
import { writeFileSync } from 'node:fs';
import { RatchetError } from '../errors.ts';

/** To a file, or with `-` to standard output. */
export function writeOutput(file: string, content: Uint8Array | string): void {
  if (file === '-') {
    process.stdout.write(content);
    return;
  }
  try {
    writeFileSync(file, content);
  } catch (cause) {
    const { code = 'EIO' } = cause as NodeJS.ErrnoException;
    throw new RatchetError('ARGUMENT_INVALID', `cannot write ${file}`, {
      errno: code,
      next: 'give --output a file that can be written',
      cause,
    });
  }
}
