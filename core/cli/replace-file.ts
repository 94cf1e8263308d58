// SPDX-License-Identifier: Apache-2.0
import {
  closeSync,
  constants,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { setTimeout } from 'node:timers/promises';

/** For a reader that is there and slow. */
const patienceMs = 2000;
const retryMs = 20;

/** Whoever reads the file sees the old content or the new, never a part. What is no regular file (a pipe, /dev/stdout) is written to as it is. */
export async function replaceFile(file: string, content: string): Promise<void> {
  const before = statSync(file, { throwIfNoEntry: false });
  if (before?.isFile() === false) {
    await writeInto(file, content);
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

/** A pipe that nobody reads fails (ENXIO), and one that is read no more (EAGAIN): a launcher that waited for either could not even be told to end. */
async function writeInto(file: string, content: string): Promise<void> {
  const fd = openSync(file, constants.O_WRONLY | constants.O_NONBLOCK);
  try {
    let rest = Buffer.from(content);
    for (let last = performance.now(); rest.length > 0; ) {
      try {
        rest = rest.subarray(writeSync(fd, rest));
        last = performance.now();
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN' || performance.now() - last > patienceMs) throw error;
        await setTimeout(retryMs);
      }
    }
  } finally {
    closeSync(fd);
  }
}
