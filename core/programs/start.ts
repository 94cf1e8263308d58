// SPDX-License-Identifier: Apache-2.0

import { fstatSync, ftruncateSync } from 'node:fs';
import { withDeadline } from '../deferred.ts';
import { RatchetError } from '../errors.ts';
import { killByPidfd } from '../launch/kill.ts';
import { OutputTail } from '../launch/output-tail.ts';
import { type StagedProcess, startStaged } from '../launch/stager.ts';
import { environmentFor, stagerWords } from '../layers/plan.ts';
import { requireLayers } from '../layers/require.ts';
import type { OwnedFd } from '../owned-fd.ts';
import { openPinned } from './pinned-file.ts';
import type { PreparedProgram } from './prepare.ts';
import { type ProgramRefusal, supervise } from './supervise.ts';

export interface StartedProgram {
  readonly process: StagedProcess;
  /** Its last words. */
  readonly stderr: OutputTail;
}

/**
 * Starts it with these streams (stdin and stdout, or one that is both), and resolves when the stager has become it. Its arguments, its environment (none) and its
 * descriptors are those of its profile and no others: looked at from outside while its exec waits.
 * @throws RatchetError REQUEST_FAILED when its file is another by now, STAGER_FAILED, VERIFICATION_FAILED; nothing is left running then.
 */
export async function startProgram(
  prepared: PreparedProgram,
  streams: readonly OwnedFd[],
  { deadlineMs, tell }: { readonly deadlineMs: number; readonly tell: (refusal: ProgramRefusal) => void },
): Promise<StartedProgram> {
  const { program, file, filter, plan, profile } = prepared;
  const [stdin, stdout = stdin] = streams;
  if (stdin === undefined || stdout === undefined) throw new Error('a program without streams');
  using pinned = openPinned(file);
  const staged = await startStaged({
    path: file.path,
    programFd: pinned.fd,
    argv: [program.path, ...program.args],
    filter,
    inherit: new Map(),
    stdio: [stdin.fd, stdout.fd, 'pipe'],
    environment: environmentFor(plan, {}),
    rlimits: { core: 0, ...plan.rlimits },
    layers: stagerWords(plan),
    dropCapabilities: true,
    deadlineMs,
  });
  const stderr = new OutputTail(staged.streams.stderr, undefined);
  let stopServing = (): void => staged.listener.close();
  try {
    requireLayers(staged.pid, plan, [0, 1, 2]);
    emptyFile(stdout);
    stopServing = supervise({ pid: staged.pid, listener: staged.listener, profile, tell });
    await withDeadline(staged.executed, deadlineMs, () => {
      return new RatchetError('STAGER_FAILED', `${program.name} was not executed in time`, { errno: 'ETIMEDOUT' });
    });
    return { process: staged, stderr };
  } catch (error) {
    killByPidfd(staged.pidfd);
    await staged.exited;
    staged.pidfd.close();
    stopServing();
    throw error;
  }
}

/** What was in the output stays until nothing but the exec itself can fail any more. Pipes and sockets are left alone. */
function emptyFile({ fd }: OwnedFd): void {
  if (fstatSync(fd).isFile()) ftruncateSync(fd, 0);
}
