// SPDX-License-Identifier: Apache-2.0
import { realpathSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';

/** Whoever reads the file sees the old content or the new, never a part. What is no regular file (a pipe, /dev/stdout) is written to as it is. */
export function replaceFile(file: string, content: string): void {
  const before = statSync(file, { throwIfNoEntry: false });
  if (before?.isFile() === false) {
    writeFileSync(file, content);
    return;
  }
  // Where a link leads, not the link.
  const target = before === undefined ? file : realpathSync(file);
  const unfinished = `${target}.${process.pid}.unfinished`;
  try {
    writeFileSync(unfinished, content);
    renameSync(unfinished, target);
  } catch (error) {
    rmSync(unfinished, { force: true });
    throw error;
  }
}
