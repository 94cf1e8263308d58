// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RatchetError } from '../errors.ts';

/** Runs a command under strace to its end, hands the trace over, and says how the command ended. Throws SETUP_MISSING without strace. */
export async function traced(command: readonly string[], read: (file: string) => Promise<void>): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'ratchet-learn-'));
  const ignore = (): void => {};
  // Ctrl-C is for the VMM: what it did until then is still to be read.
  process.on('SIGINT', ignore);
  try {
    const file = join(folder, 'trace');
    const status = await strace(['-f', '-qq', '-e', 'raw=all', '-e', 'signal=none', '-o', file, '--', ...command]);
    await read(file);
    return status;
  } finally {
    process.off('SIGINT', ignore);
    rmSync(folder, { recursive: true });
  }
}

async function strace(args: readonly string[]): Promise<string> {
  return await new Promise((resolve, reject) => {
    // Standard output is the proposal's: what the VMM prints goes to stderr.
    const child = spawn('strace', args, { stdio: ['inherit', 2, 'inherit'] });
    child.once('error', (cause: NodeJS.ErrnoException) =>
      reject(
        new RatchetError('SETUP_MISSING', 'strace could not be started', {
          errno: cause.code ?? 'EIO',
          next: 'install the package strace, or record elsewhere and use --from strace FILE',
          cause,
        }),
      ),
    );
    child.once('close', (code, signal) => resolve(signal === null ? `status ${code}` : `signal ${signal}`));
  });
}
