// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Milliseconds of each run. */
export interface CommandTimes {
  readonly elapsed: readonly number[];
  /** User and system time of the command, which says how much there is to do, whatever else the machine does. In steps of 10 ms. */
  readonly processor: readonly number[];
}

/** Runs of commands of Node in turns; the first round, which reads the files from disk, does not count. */
export function commandTimes(rounds: number, commands: readonly (readonly string[])[]): readonly CommandTimes[] {
  const times = commands.map(() => ({ elapsed: [] as number[], processor: [] as number[] }));
  for (let round = 0; round <= rounds; round++) {
    commands.forEach((args, index) => {
      const processorBefore = childrenMs();
      const before = performance.now();
      execFileSync(process.execPath, args);
      const elapsed = performance.now() - before;
      if (round === 0) return;
      times[index]?.elapsed.push(elapsed);
      times[index]?.processor.push(childrenMs() - processorBefore);
    });
  }
  return times;
}

/** Of the children that have ended: fields 16 and 17 of proc(5)'s stat, in hundredths of a second. */
function childrenMs(): number {
  const stat = readFileSync('/proc/self/stat', 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[13]) + Number(fields[14])) * 10;
}
