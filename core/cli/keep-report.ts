// SPDX-License-Identifier: Apache-2.0
// `--report FILE`: what is enforced, as JSON, while it runs.
import { closeSync, constants, openSync } from 'node:fs';
import { RatchetError } from '../errors.ts';
import type { SandboxEvent } from '../launch/events.ts';
import { complain } from './output.ts';
import { replaceFile } from './replace-file.ts';

/** One report now, and one after each stage change and each member's end or restart, until the events end. A disk that is full must not end what runs. */
export async function keepReport(
  running: { readonly attest: () => Promise<unknown> },
  file: string,
  changes: AsyncIterator<SandboxEvent>,
): Promise<void> {
  await writeReport(running, file);
  for (let next = await changes.next(); next.done !== true; next = await changes.next()) {
    const { type } = next.value;
    // The broker tells of the stage too, before the filter is on: only the launcher's own event counts threads.
    if (type === 'member' || (type === 'stage' && 'threads' in next.value)) await writeReport(running, file);
  }
}

async function writeReport(running: Parameters<typeof keepReport>[0], file: string): Promise<void> {
  try {
    await replaceFile(file, `${JSON.stringify(await running.attest())}\n`);
  } catch (error) {
    complain(`the report ${file} could not be written: ${(error as Error).message}`);
  }
}

/** Asked before a VM is started. @throws RatchetError ARGUMENT_INVALID. */
export function checkWritable(file: string): void {
  try {
    const { O_WRONLY, O_CREAT, O_APPEND, O_NONBLOCK } = constants;
    closeSync(openSync(file, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK));
  } catch (cause) {
    throw new RatchetError('ARGUMENT_INVALID', `the report ${file} cannot be written`, {
      errno: (cause as NodeJS.ErrnoException).code ?? 'EIO',
      next: 'give a file in a folder that exists, or a pipe that is being read',
      cause,
    });
  }
}
