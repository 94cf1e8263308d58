// SPDX-License-Identifier: Apache-2.0
import { Writable } from 'node:stream';

/** Passes lines on to this process's stderr with the member's name before each. */
export function namedLines(name: string): Writable {
  let unfinished = '';
  const tell = (line: string): void => void process.stderr.write(`${name}: ${line}\n`);
  return new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      const lines = (unfinished + chunk.toString('utf8')).split('\n');
      unfinished = lines.pop() ?? '';
      lines.forEach(tell);
      done();
    },
  });
}
