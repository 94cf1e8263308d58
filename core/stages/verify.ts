// SPDX-License-Identifier: Apache-2.0
// The proof from outside that a stage is on: nothing here believes what the injection said.
import { createHash } from 'node:crypto';
import { type NativeError, native } from '../../native/index.ts';
import { RatchetError } from '../errors.ts';
import { readTasks, type Task } from './tasks.ts';

/** A filter that should be installed: oldest first in a chain. */
export interface InstalledProgram {
  readonly stage: string;
  readonly program: Uint8Array;
}

export interface VerifiedThread extends Task {
  /** SHA-256 of each installed program, oldest first; empty when the kernel may not be asked. */
  readonly programs: readonly { readonly stage: string; readonly sha256: string }[];
}

export interface Verification {
  readonly threads: readonly VerifiedThread[];
  /** Why programs could not be read back; undefined when they were. */
  readonly readBackMissing: string | undefined;
}

/**
 * Checks every thread of the process: seccomp mode 2, no_new_privs, exactly the expected number of filters, and, where this process
 * may read them back (CAP_SYS_ADMIN, and no filter on itself), each program byte for byte.
 * @throws RatchetError VERIFICATION_FAILED naming the first thread and what differs.
 */
export function verifyThreads(options: {
  readonly pid: number;
  readonly inheritedFilters: number;
  readonly chain: readonly InstalledProgram[];
  readonly deadlineMs: number;
}): Verification {
  const { pid, inheritedFilters, chain, deadlineMs } = options;
  const expected = inheritedFilters + chain.length;
  let readBackMissing: string | undefined;
  const threads: VerifiedThread[] = [];
  const tasks = readTasks(pid);
  if (tasks.length === 0) fail(pid, 'the process has no threads left');
  for (const task of tasks) {
    if (task.mode !== 2) fail(pid, `thread ${task.tid} (${task.name}) has seccomp mode ${task.mode}, not 2`);
    if (!task.noNewPrivs) fail(pid, `thread ${task.tid} (${task.name}) has no_new_privs off`);
    if (task.filters !== expected)
      fail(pid, `thread ${task.tid} (${task.name}) has ${task.filters} filters, not ${expected}`);
    const installed = readBackMissing === undefined ? readBack(task.tid, deadlineMs) : { missing: readBackMissing };
    if ('missing' in installed) {
      readBackMissing = installed.missing;
      threads.push({ ...task, programs: [] });
    } else if (installed.programs === undefined) {
      // The thread ended between the listing and the read: nothing runs there any more.
    } else {
      threads.push({ ...task, programs: comparePrograms(pid, task, installed.programs, inheritedFilters, chain) });
    }
  }
  return { threads, readBackMissing };
}

function comparePrograms(
  pid: number,
  task: Task,
  programs: readonly Buffer[],
  inheritedFilters: number,
  chain: readonly InstalledProgram[],
): VerifiedThread['programs'] {
  return chain.map(({ stage, program }, index) => {
    const found = programs[inheritedFilters + index];
    if (found === undefined || !found.equals(program))
      fail(pid, `thread ${task.tid} (${task.name}): the installed program of stage ${stage} is not the compiled one`);
    return { stage, sha256: sha256(program) };
  });
}

type ReadBack = { readonly programs: readonly Buffer[] | undefined } | { readonly missing: string };

function readBack(tid: number, deadlineMs: number): ReadBack {
  try {
    return { programs: native.readFilters({ tid, deadlineMs }) };
  } catch (error) {
    const { code } = error as NativeError;
    if (code === 'ESRCH') return { programs: undefined };
    // EACCES: no CAP_SYS_ADMIN, or we run under a filter ourselves. EINVAL/EIO: kernel without CONFIG_CHECKPOINT_RESTORE.
    if (code === 'EACCES' || code === 'EPERM' || code === 'EINVAL' || code === 'EIO')
      return {
        missing: `PTRACE_SECCOMP_GET_FILTER: ${code} (needs CAP_SYS_ADMIN and a kernel with CHECKPOINT_RESTORE)`,
      };
    throw error;
  }
}

export function sha256(program: Uint8Array): string {
  return createHash('sha256').update(program).digest('hex');
}

function fail(pid: number, found: string): never {
  throw new RatchetError('VERIFICATION_FAILED', `the filters of process ${pid} are not as they should be: ${found}`, {
    next: 'a stage change that finds this ends the VMM; report it with the output of `ratchet ctl PATH attest --json`',
  });
}
