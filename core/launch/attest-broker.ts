// SPDX-License-Identifier: Apache-2.0
// The broker looked at from outside, as the VMM is: what it said of itself counts for nothing here, except where the kernel shows nothing (Landlock).
import { readFileSync } from 'node:fs';
import { type NativeError, native } from '../../native/index.ts';
import type { Confinement } from '../broker/confinement.ts';
import { RatchetError } from '../errors.ts';
import { capabilityNames } from '../self/capabilities.ts';
import { ownFilterCount, readTasks, statusField, type Task } from '../stages/tasks.ts';
import type { Mechanism } from './report.ts';

export interface BrokerAttestation {
  readonly ok: boolean;
  readonly mechanisms: readonly Mechanism[];
}

/** Checks every thread of a broker that has said hello. `deadlineMs`: for reading a thread's programs. */
export function attestBroker(pid: number, confinement: Confinement, deadlineMs: number): BrokerAttestation {
  const tasks = readTasks(pid);
  const checks = [seccomp(tasks, confinement, deadlineMs), capabilities(pid, tasks, confinement)];
  return {
    ok: tasks.length > 0 && checks.every(({ ok }) => ok),
    mechanisms: [...checks.map(({ mechanism }) => mechanism), landlock(confinement)],
  };
}

/** @throws RatchetError VERIFICATION_FAILED. */
export function requireConfined(pid: number, confinement: Confinement, deadlineMs: number): void {
  const { ok, mechanisms } = attestBroker(pid, confinement, deadlineMs);
  if (ok) return;
  const missed = mechanisms.filter(({ state }) => state === 'absent').map(({ name, reason }) => `${name}: ${reason}`);
  throw new RatchetError(
    'VERIFICATION_FAILED',
    `the broker (pid ${pid}) is not confined as it should be: ${missed.join('; ')}`,
    {
      next: 'this is a bug; the VM is not started',
    },
  );
}

interface Check {
  readonly ok: boolean;
  readonly mechanism: Mechanism;
}

/** Each stage adds two filters to a thread: the common one, then its role's. */
function seccomp(tasks: readonly Task[], { stages }: Confinement, deadlineMs: number): Check {
  const inherited = ownFilterCount();
  const mains = chains(stages, 'main');
  const files = chains(stages, 'files');
  let filesThreads = 0;
  let readBack = true;
  for (const task of tasks) {
    const entered = (task.filters - inherited) / 2;
    if (task.mode !== 2 || !task.noNewPrivs || mains[entered - 1] === undefined)
      return missing(
        'broker-seccomp',
        `thread ${task.tid} (${task.name}) has mode ${task.mode} and ${task.filters} filters`,
      );
    const programs = readBack ? installed(task.tid, deadlineMs) : undefined;
    if (programs === undefined) {
      readBack = false;
      continue;
    }
    const own = programs.slice(inherited);
    if (equal(own, files[entered - 1])) filesThreads += 1;
    else if (!equal(own, mains[entered - 1]))
      return missing('broker-seccomp', `thread ${task.tid} (${task.name}) has other programs than were compiled`);
  }
  if (tasks.length === 0) return missing('broker-seccomp', 'the broker has ended');
  if (readBack && filesThreads !== 1)
    return missing('broker-seccomp', `${filesThreads} threads may open files, not one`);
  const how = readBack ? 'each program read back, one thread for files' : 'programs could not be read back';
  return {
    ok: true,
    mechanism: {
      name: 'broker-seccomp',
      state: readBack ? 'enforced' : 'partial',
      reason: `on all ${tasks.length} threads; ${how}`,
    },
  };
}

function chains(stages: Confinement['stages'], role: 'main' | 'files'): readonly (readonly Uint8Array[])[] {
  return stages.map((_, index) => stages.slice(0, index + 1).flatMap((stage) => [stage.all, stage[role]]));
}

function equal(found: readonly Buffer[], wanted: readonly Uint8Array[] | undefined): boolean {
  return (
    wanted !== undefined &&
    found.length === wanted.length &&
    found.every((program, index) => program.equals(wanted[index] ?? Buffer.of()))
  );
}

/** Undefined where this process may not read them. */
function installed(tid: number, deadlineMs: number): readonly Buffer[] | undefined {
  try {
    return native.readFilters({ tid, deadlineMs });
  } catch (error) {
    if (['EACCES', 'EPERM', 'EINVAL', 'EIO'].includes((error as NativeError).code)) return undefined;
    throw error;
  }
}

function capabilities(pid: number, tasks: readonly Task[], { capabilities: permitted }: Confinement): Check {
  let held = 0n;
  for (const { tid } of tasks) {
    const status = readFileSync(`/proc/${pid}/task/${tid}/status`, 'utf8');
    for (const set of ['CapEff', 'CapPrm', 'CapInh', 'CapAmb']) held |= BigInt(`0x${statusField(status, set)}`);
  }
  const name = 'broker-capabilities';
  const excess = capabilityNames(held & ~permitted);
  if (excess.length > 0) return missing(name, `it holds ${excess.join(', ')}, which its grants do not need`);
  return {
    ok: true,
    mechanism: { name, state: 'enforced', reason: held === 0n ? 'none' : capabilityNames(held).join(', ') },
  };
}

function landlock({ landlock: domain }: Confinement): Mechanism {
  const name = 'broker-landlock';
  if (domain === null)
    return {
      name,
      state: 'absent',
      reason: 'the kernel has no Landlock, and the launcher said that it may be missing',
    };
  const roots = domain.rights.map(({ path }) => path).join(', ');
  return {
    name,
    state: 'enforced',
    reason: `tried by the broker before its hello; the kernel does not show it. Files beneath: ${roots}`,
  };
}

function missing(name: string, reason: string): Check {
  return { ok: false, mechanism: { name, state: 'absent', reason } };
}
